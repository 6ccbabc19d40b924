"""The compact spectrum against numpy's full transform, the projection against scipy and against the spec's formula."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from gradproj.spectrum import compact, distance, expand, flatness, project

BLOCKS = (4, 8, 16, 32)
MEAN = math.sqrt(math.pi) / 2  # E |z| of z ~ CN(0, 1)
Array = NDArray[Any]


def plain_compact(x: Array) -> Array:
    """Spec 1.1 and 1.2 for one flat sample: full unitary DFT, first half, the two real coefficients folded."""
    full = np.fft.fft(np.asarray(x, np.float64), norm="ortho")
    half = full[: len(x) // 2].copy()
    half[0] = (full[0].real + 1j * full[len(x) // 2].real) / np.sqrt(2)
    return half


def plain_expand(y: Array) -> Array:
    """The inverse, through the full Hermitian spectrum."""
    n = 2 * len(y)
    full = np.zeros(n, np.complex128)
    full[0], full[n // 2] = np.sqrt(2) * y[0].real, np.sqrt(2) * y[0].imag
    full[1 : n // 2], full[n // 2 + 1 :] = y[1:], y[:0:-1].conj()
    return np.fft.ifft(full, norm="ortho").real


def plain_magnitudes(magnitudes: Array) -> Array:
    """Spec 1.4 to the letter, for one block: try every n, exactly one lambda(n) lies in [w_{n+1}, w_n)."""
    b = len(magnitudes)
    w = np.append(np.sort(magnitudes)[::-1], -np.inf)
    fits = []
    for n in range(1, b + 1):
        if n > np.pi * b / 4:
            s1, s2 = w[:n].sum(), (w[:n] ** 2).sum()
            threshold = s1 / n - (np.sqrt(np.pi * b) / 2) / n * np.sqrt((n * s2 - s1**2) / (n - np.pi * b / 4))
            if w[n] <= threshold < w[n - 1]:
                fits.append(threshold)
    assert len(fits) == 1
    kept = np.maximum(magnitudes - fits[0], 0)
    return kept * (MEAN * b / kept.sum())


def plain_project(x: Array, block: int) -> Array:
    y = plain_compact(x)
    for start in range(0, len(y), block):
        part = y[start : start + block]
        y[start : start + block] = plain_magnitudes(np.abs(part)) * part / np.abs(part)
    return plain_expand(y)


def draw(kind: str, size: int, rng: np.random.Generator) -> Array:
    """Magnitudes of very different spread."""
    if kind == "normal":
        return np.abs(rng.normal(size=size) + 1j * rng.normal(size=size))
    return np.abs(rng.standard_cauchy(size)) if kind == "cauchy" else rng.lognormal(sigma=2.0, size=size)


def latent_of(magnitudes: Array, rng: np.random.Generator) -> Array:
    """A flat latent whose compact spectrum has these magnitudes and random phases."""
    return plain_expand(magnitudes * np.exp(2j * np.pi * rng.random(magnitudes.shape)))


def ours(x: Array, block: int) -> Array:
    return project(torch.from_numpy(x)[None], block)[0].numpy()


def assert_on_set(x: torch.Tensor, block: int) -> None:
    """Every block of every sample has both norms, computed by numpy in float64."""
    tolerance = 1e-5 if x.dtype == torch.float32 else 1e-11
    for sample in x.flatten(1).double().numpy():
        blocks = np.abs(plain_compact(sample)).reshape(-1, block)
        np.testing.assert_allclose(blocks.sum(1), MEAN * block, rtol=tolerance)
        np.testing.assert_allclose((blocks**2).sum(1), block, rtol=tolerance)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# The compact spectrum


@pytest.mark.parametrize("shape", [(2,), (4,), (6,), (64,), (3, 4, 8), (3072,)])
def test_compact_is_numpys_full_transform_folded_of_the_latent_in_memory_order(shape: tuple[int, ...]):
    x = normal(3, *shape, dtype=torch.float64)
    for sample, y in zip(x.numpy(), compact(x).numpy(), strict=True):
        np.testing.assert_allclose(y, plain_compact(sample.reshape(-1)), atol=1e-12)


@pytest.mark.parametrize("n", [2, 4, 6, 64, 3072])
def test_expand_is_the_inverse_both_ways(n: int):
    x = normal(3, n, dtype=torch.float64)
    y = torch.complex(normal(3, n // 2, seed=1, dtype=torch.float64), normal(3, n // 2, seed=2, dtype=torch.float64))
    torch.testing.assert_close(expand(compact(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(compact(expand(y)), y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(expand(y)[0].numpy(), plain_expand(y[0].numpy()), atol=1e-12)


def test_white_noise_has_unit_complex_coefficients_without_correlation_also_in_the_folded_one():
    y = compact(normal(40_000, 8, dtype=torch.float64))
    parts = torch.cat([y.real, y.imag], dim=1).numpy() * np.sqrt(2)
    np.testing.assert_allclose(parts.T @ parts / len(parts), np.eye(8), atol=6 / 200)  # standard error 1 / sqrt(40,000)


# The projection is the nearest point


def nearest_by_scipy(w: Array, rng: np.random.Generator, starts: int = 6) -> Array:
    """Minimise ||m - w||^2 over m >= 0 with both norms, by SLSQP from several starts; w of norm about 1."""
    b = len(w)
    constraints = [
        {"type": "eq", "fun": lambda m: m.sum() - MEAN * b, "jac": lambda m: np.ones(b)},
        {"type": "eq", "fun": lambda m: (m**2).sum() - b, "jac": lambda m: 2 * m},
    ]
    best, least = np.full(b, np.nan), np.inf
    for index in range(starts):
        start = w / w.max() * 2 + 0.1 * rng.random(b) if index % 2 else rng.rayleigh(size=b)
        found = minimize(
            lambda m: ((m - w) ** 2).sum(),
            start,
            jac=lambda m: 2 * (m - w),
            bounds=[(0, None)] * b,
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 500},
        )
        violation = max(abs(found.x.sum() - MEAN * b), abs((found.x**2).sum() - b))
        if violation < 1e-8 and found.fun < least:
            best, least = found.x, found.fun
    assert np.isfinite(least)
    return best


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kind", ["normal", "cauchy", "lognormal"])
def test_no_feasible_magnitudes_found_by_scipy_are_nearer(kind: str, block: int):
    rng = np.random.default_rng([block, len(kind)])
    for _ in range(2):
        w = draw(kind, block, rng)
        w /= np.linalg.norm(w)
        brute = nearest_by_scipy(w, rng)
        mine = np.abs(plain_compact(ours(latent_of(w, rng), block)))
        assert np.linalg.norm(mine - w) <= np.linalg.norm(brute - w) + 1e-7
        np.testing.assert_allclose(mine, brute, atol=1e-4)


def test_no_feasible_complex_block_found_by_scipy_is_nearer_so_phases_stay():
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = rng.normal(size=8)
        y = plain_compact(x)
        best = np.inf
        for _ in range(6):
            found = minimize(
                lambda v, y=y: (np.abs(v[:4] + 1j * v[4:] - y) ** 2).sum(),
                rng.normal(size=8),
                constraints=[
                    {"type": "eq", "fun": lambda v: np.hypot(v[:4], v[4:]).sum() - 4 * MEAN},
                    {"type": "eq", "fun": lambda v: (v**2).sum() - 4},
                ],
                method="SLSQP",
                options={"ftol": 1e-12, "maxiter": 500},
            )
            best = min(best, found.fun if found.success else np.inf)
        distance = (np.abs(plain_compact(ours(x, 4)) - y) ** 2).sum()
        assert distance == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kind", ["normal", "cauchy", "lognormal"])
def test_projection_is_the_spec_formula(kind: str, block: int):
    rng = np.random.default_rng([block, len(kind), 1])
    x = latent_of(draw(kind, 40 * block, rng), rng)
    np.testing.assert_allclose(ours(x, block), plain_project(x, block), atol=1e-9)


def test_nearly_equal_magnitudes_keep_their_differences():
    """Adding a constant to all magnitudes of a block, or scaling them, does not move the nearest point."""
    rng = np.random.default_rng(0)
    differences = rng.random(16)
    mine = np.abs(plain_compact(ours(latent_of(1 + 1e-7 * differences, rng), 16)))
    np.testing.assert_allclose(mine, plain_magnitudes(differences), atol=1e-6)  # 1e-16 rounding over 1e-7 spread


# Its properties


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("block", BLOCKS)
def test_projection_is_on_the_set_keeps_shape_and_dtype_and_has_norm_root_n(block: int, dtype: torch.dtype):
    x = normal(3, 3, 16, 16, dtype=dtype) * torch.tensor([1e-7, 1, 50]).view(3, 1, 1, 1).to(dtype)
    projected = project(x, block)
    assert projected.shape == x.shape
    assert projected.dtype == dtype
    assert_on_set(projected, block)
    torch.testing.assert_close(
        projected.flatten(1).double().square().sum(1), torch.full((3,), 768.0).double(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projecting_twice_changes_nothing(dtype: torch.dtype):
    once = project(normal(4, 3072, dtype=dtype).square())
    torch.testing.assert_close(project(once), once, rtol=0, atol=2e-4 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_positive_factor_changes_nothing_up_to_the_ends_of_the_number_range(dtype: torch.dtype):
    x = normal(2, 3072, dtype=dtype)
    x /= x.abs().max()
    for peak in (0.99 * torch.finfo(dtype).max, 1e4 * torch.finfo(dtype).tiny, 1e-25, 1e-7, 1e7, 1e30):
        torch.testing.assert_close(project(x * peak), project(x), rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)
    assert torch.equal(project(x * 2.0**-90), project(x))  # a power of two rounds nothing
    torch.testing.assert_close(project(-x), -project(x), rtol=0, atol=1e-6)


def test_a_block_a_billion_times_smaller_than_its_neighbours_is_projected_as_well():
    rng = np.random.default_rng(0)
    x = latent_of(np.concatenate([draw("normal", 64, rng), 1e-9 * draw("normal", 64, rng)]), rng)
    np.testing.assert_allclose(ours(x, 16), plain_project(x, 16), atol=1e-5)  # 1e-16 rounding over 1e-9


def test_samples_do_not_see_each_other():
    x = normal(5, 3, 16, 16) * torch.tensor([1e-20, 1, 1e10, 1, 1e-3]).view(5, 1, 1, 1)
    x[3] = 1.0  # a constant latent beside the others
    torch.testing.assert_close(project(x), torch.cat([project(one[None]) for one in x]), rtol=0, atol=1e-6)


def test_input_is_left_alone_the_answer_carries_no_gradient_and_the_block_is_16():
    x = normal(2, 512).requires_grad_()
    assert torch.equal(project(x), project(x, 16))
    before = x.detach().clone()
    assert not project(x).requires_grad
    assert torch.equal(x, before)


def test_no_coefficient_exceeds_samuelsons_bound_and_a_lone_one_attains_it():
    """One of B numbers of mean a and variance v is at most a + sqrt((B - 1) v); for B = 16 its square is 7.1845."""
    bound = (MEAN + math.sqrt(15 * (1 - MEAN**2))) ** 2
    assert bound == pytest.approx(7.1845, abs=5e-5)
    rng = np.random.default_rng(0)
    wild = torch.from_numpy(latent_of(draw("cauchy", 16 * 200, rng) ** 3, rng))[None]
    assert float(compact(project(wild)).abs().square().max()) <= bound * (1 + 1e-10)
    lone = np.full(16, 1e-12)
    lone[5] = 1.0
    alone = plain_compact(ours(latent_of(lone, rng), 16))
    assert np.abs(alone[5]) ** 2 == pytest.approx(bound, rel=1e-6)


@pytest.mark.parametrize(("block", "published"), [(4, 0.956), (8, 0.979), (16, 0.98937), (32, 0.995)])
def test_noise_hardly_moves_at_65536_entries(block: int, published: float):
    x = normal(8, 65_536)
    cosines = torch.cosine_similarity(x.double(), project(x, block).double()).numpy()
    rounding = 0.000005 if block == 16 else 0.0005
    assert abs(cosines.mean() - published) <= rounding + 3 * max(cosines.std(ddof=1), 0.00023) / math.sqrt(8)


@pytest.mark.parametrize("block", BLOCKS)
def test_float32_is_within_some_roundings_of_float64(block: int):
    """Relative l2 error at most 40 units of float32 rounding (2.4e-6) at N = 65,536."""
    x = normal(2, 65_536)
    error = torch.linalg.vector_norm(project(x, block).double() - project(x.double(), block), dim=1) / 256
    assert float(error.max()) < 40 * 2.0**-24


# How far a latent is from noise


def test_flatness_is_the_periodograms_wiener_entropy_and_tells_noise_from_colour() -> None:
    rng = np.random.default_rng(3)
    white = rng.normal(size=(64, 8192))
    found = flatness(torch.from_numpy(white)).numpy()
    spectrum = np.fft.rfft(white, norm="ortho")
    spectrum[:, 0] = (spectrum[:, 0].real + 1j * spectrum[:, -1].real) / np.sqrt(2)
    power = (np.abs(spectrum[:, :-1]) ** 2).reshape(64, -1, 16).mean(2)
    assert found == pytest.approx(scipy.stats.gmean(power, axis=1) / power.mean(1), rel=1e-10)
    expected = np.exp(scipy.special.digamma(16)) / 16  # of the mean of 16 exponential variables
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / 8 + 1e-3)
    brown = torch.from_numpy(np.cumsum(white, axis=1))
    assert flatness(brown).max() < 0.5
    assert flatness(project(brown)) == pytest.approx(1.0, abs=1e-6)


def test_distance_is_zero_on_the_set_and_known_for_white_noise() -> None:
    white = torch.from_numpy(np.random.default_rng(4).normal(size=(16, 65536)))
    onto = project(white)
    assert distance(onto) == pytest.approx(0.0, abs=1e-6)
    assert distance(white).numpy() == pytest.approx((white - onto).numpy().std(1), rel=1e-3)
    assert distance(white).mean() == pytest.approx(math.sqrt(2 - 2 * 0.98937), abs=1e-3)  # the cosine of the paper
    assert distance(torch.stack([white[0], torch.zeros_like(white[0])])).isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="do not tile"):
        distance(white[:, :100])
