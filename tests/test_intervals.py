"""Order statistics clipped to confidence intervals: bounds against Monte Carlo, clipping against a minimiser."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from gradproj.methods import intervals
from gradproj.methods.intervals import clip_energies, clip_values, confine, energy_bounds, value_bounds

fft: Any = scipy.fft
Array = NDArray[np.float64]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def coloured(b: int, n: int) -> torch.Tensor:
    """Noise whose power falls as one over the frequency, of rms 1."""
    rng = np.random.default_rng(0)
    spectrum = fft.rfft(rng.normal(size=(b, n)), axis=1) / np.sqrt(np.maximum(np.arange(n // 2 + 1), 1))
    x = fft.irfft(spectrum, axis=1)
    return torch.from_numpy(x / np.sqrt((x**2).mean(1, keepdims=True))).float()


def table(tiles: Array) -> Array:
    """Each row sorted, then each column."""
    return np.sort(np.sort(tiles, axis=-1), axis=-2)


def clipped(tiles: Array, low: Array, high: Array) -> Array:
    return clip_values(*(torch.from_numpy(array) for array in (tiles[None], low, high)))[0].numpy()


# The intervals


@pytest.mark.parametrize(("m", "d"), [(3, 4), (6, 2), (1, 5), (5, 1)])
def test_white_noise_is_outside_of_each_interval_as_often_as_said(m: int, d: int):
    draws = np.random.default_rng(0).normal(size=(40_000, m, d))
    tables, energies = table(draws), np.sort((draws**2).sum(2), axis=1)
    for found, (low, high) in ((tables, value_bounds(m, d, 0.1)), (energies, energy_bounds(m, d, 0.1))):
        for share in ((found < low).mean(0), (found > high).mean(0)):
            np.testing.assert_allclose(share, 0.05, atol=5 * math.sqrt(0.05 * 0.95 / 40_000))


def test_the_bounds_are_scipys_nested_quantiles_and_grow_with_rank_and_place():
    m, d, significance = 96, 32, 1e-4
    (low, high), (least, most) = value_bounds(m, d, significance), energy_bounds(m, d, significance)
    stats: Any = scipy.stats
    for rank, place in ((1, 1), (1, 32), (40, 7), (96, 32)):
        for bound, share in ((low, significance / 2), (high, 1 - significance / 2)):
            among = stats.beta.ppf(share, rank, m - rank + 1)
            expected = stats.norm.ppf(stats.beta.ppf(among, place, d - place + 1))
            assert bound[rank - 1, place - 1] == pytest.approx(expected, rel=1e-6)
        for bound, share in ((least, significance / 2), (most, 1 - significance / 2)):
            expected = stats.chi2.ppf(stats.beta.ppf(share, rank, m - rank + 1), d)
            assert bound[rank - 1] == pytest.approx(expected, rel=1e-6)
    assert all((np.diff(bound, axis=axis) > 0).all() for bound in (low, high) for axis in (0, 1))


# Clipping is the nearest point


def brute_force(tiles: Array, low: Array, high: Array) -> float:
    """The squared distance to the nearest tiles whose table is in the box: a quadratic programme for every order."""
    m, d = tiles.shape
    orders = [list(order) for order in itertools.permutations(range(d))]
    ranks = [list(order) for order in itertools.permutations(range(m))]
    best = np.inf
    for in_row in itertools.product(orders, repeat=m):
        for in_column in itertools.product(ranks, repeat=d):
            # cell (r, j) of the table is entry in_row[i][j] of tile i = in_column[j][r]
            cells = np.array([[in_column[j][r] * d + in_row[in_column[j][r]][j] for j in range(d)] for r in range(m)])
            rows = np.array([[i * d + in_row[i][j] for j in range(d)] for i in range(m)])
            best = min(best, _programme(tiles.ravel(), cells, rows, low, high, best))
    return best


def _programme(x: Array, cells: Any, rows: Any, low: Array, high: Array, best: float) -> float:
    bounds = np.empty((len(x), 2))
    bounds[cells.ravel()] = np.stack([low.ravel(), high.ravel()], axis=1)
    inside = np.clip(x, *bounds.T)
    if ((inside - x) ** 2).sum() >= best:  # the order of the entries only takes away
        return np.inf
    order = np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in (*rows, *cells.T)])  # first <= second
    matrix = np.zeros((len(order), len(x)))
    matrix[np.arange(len(order)), order[:, 0]], matrix[np.arange(len(order)), order[:, 1]] = -1, 1
    found = minimize(
        lambda z: ((z - x) ** 2).sum(),
        inside,
        jac=lambda z: 2 * (z - x),
        bounds=bounds,
        constraints=[{"type": "ineq", "fun": lambda z: matrix @ z, "jac": lambda z: matrix}],
        method="SLSQP",
        options={"ftol": 1e-13},
    )
    return float(found.fun) if found.success and (matrix @ found.x).min() > -1e-9 else np.inf


@pytest.mark.parametrize(("m", "d"), [(2, 2), (3, 2), (1, 3), (3, 1)])
def test_no_tiles_within_the_intervals_are_nearer_and_where_the_tiles_stay_in_order_clipping_is_the_nearest(
    m: int, d: int
):
    low, high = value_bounds(m, d, 0.6)
    rng = np.random.default_rng([m, d])
    inside, moved = 0, 0
    for _ in range(12):
        tiles = rng.normal(size=(m, d)) * rng.choice([0.3, 1, 2]) + rng.choice([0, 0.7])
        answer = clipped(tiles, low, high)
        distance, least = ((answer - tiles) ** 2).sum(), brute_force(tiles, low, high)
        assert distance <= least + 1e-7
        on_set = (table(answer) >= low - 1e-12).all() and (table(answer) <= high + 1e-12).all()
        inside, moved = inside + on_set, moved + (on_set and distance > 0.01)
        assert not on_set or distance == pytest.approx(least, abs=1e-6)
    assert moved >= 4 and (inside == 12 or min(m, d) > 1)


def test_energies_are_moved_to_the_nearest_tiles_that_scipy_finds():
    low, high = energy_bounds(3, 2, 0.6)
    rng = np.random.default_rng(0)
    for _ in range(4):
        tiles = rng.normal(size=(3, 2)) * 1.5
        answer = clip_energies(*(torch.from_numpy(array) for array in (tiles[None], low, high)))[0].numpy()
        assert (np.sort((answer**2).sum(1)) >= low - 1e-12).all() and (
            np.sort((answer**2).sum(1)) <= high + 1e-12
        ).all()
        best = np.inf
        for ranks in itertools.permutations(range(3)):
            limits: Any = {
                "type": "ineq",
                "fun": lambda z, ranks=list(ranks): np.concatenate(
                    [(z.reshape(3, 2) ** 2).sum(1) - low[ranks], high[ranks] - (z.reshape(3, 2) ** 2).sum(1)]
                ),
            }
            for start in (tiles.ravel(), tiles.ravel() * 2):
                found = minimize(lambda z, x=tiles: ((z - x.ravel()) ** 2).sum(), start, constraints=[limits])
                best = min(best, found.fun if found.success and limits["fun"](found.x).min() > -1e-7 else np.inf)
        assert ((answer - tiles) ** 2).sum() == pytest.approx(best, abs=1e-5)


# The whole map


@pytest.mark.parametrize("n", [3072, 16_384, 65_536])
def test_real_noise_is_left_nearly_alone_and_coloured_noise_is_not(n: int):
    white = normal(4, n)
    assert torch.cosine_similarity(white, confine(white)).min() > 0.99995
    assert torch.cosine_similarity(coloured(2, n), confine(coloured(2, n))).max() < 0.85


def test_values_lie_in_their_intervals_in_the_latent_but_for_the_few_whose_tiles_crossed():
    moved = table(confine(coloured(2, 3072)).numpy().reshape(2, 96, 32))
    low, high = value_bounds(96, 32, 1e-4)
    outside = np.maximum(low - moved, moved - high)
    assert outside.max() < 0.2 and (outside > 1e-5).mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_do_not_see_each_other_and_are_left_as_they_were(dtype: torch.dtype):
    x = normal(4, 3, 32, 32).to(dtype) * torch.tensor([1, 3, 1e-6, 1]).view(4, 1, 1, 1)
    x[3] = 0
    x[3, 0, 0, 0] = 1.0  # most of its tiles are zero
    before = x.clone()
    answer = confine(x)
    assert (answer.shape, answer.dtype) == (x.shape, dtype) and bool(answer.isfinite().all())
    assert torch.equal(x, before) and torch.equal(answer, confine(x))
    torch.testing.assert_close(answer, torch.cat([confine(one[None]) for one in x]), rtol=0, atol=1e-6)


def test_the_gradient_is_brought_to_rms_1_first_and_the_latent_is_not():
    method = intervals.method(torch.optim.Adam, 0.03, 32, 1e-4, True, True)
    g = normal(3, 3072)
    g /= g.square().mean(1, keepdim=True).sqrt()
    for scale in (1e-30, 1e-7, 1e6):
        torch.testing.assert_close(method.direction(g, g * scale, []), confine(g), rtol=0, atol=1e-5)
    assert torch.equal(method.retract(2 * g), confine(2 * g))
    assert not torch.allclose(confine(2 * g), 2 * g, atol=0.1)
    switched_off = intervals.method(torch.optim.Adam, 0.03, 32, 1e-4, False, False)
    assert torch.equal(switched_off.direction(g, g, []), g) and torch.equal(switched_off.retract(g), g)


def test_what_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="3072 latent entries are not cut into tiles of 7"):
        confine(normal(1, 3072), tile=7)
    with pytest.raises(ValueError, match="even number of latent entries, got 33"):
        confine(normal(1, 33), tile=3)
    for bad in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and not all zero"):
            confine(torch.full((1, 64), bad))
    with pytest.raises(ValueError, match="float16"):
        confine(normal(1, 64).half())
