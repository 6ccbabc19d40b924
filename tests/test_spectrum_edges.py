"""The projection where it is awkward: zeros, ties, the ends of the number range, and what is refused."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from test_spectrum import (
    MEAN,
    Array,
    assert_on_set,
    draw,
    latent_of,
    nearest_by_scipy,
    normal,
    ours,
    plain_compact,
)

from gradproj.spectrum import compact, project, project_coefficients_

# Degenerate samples land on the set


def degenerate() -> dict[str, Array]:
    """Latents of 256 entries, 8 blocks of 16, each an awkward case."""
    rng = np.random.default_rng(0)
    time = np.arange(256)

    def first_block(values: Array) -> Array:
        """``values`` as the first block's magnitudes, noise in the others."""
        rest = draw("normal", 112, rng)
        return latent_of(np.concatenate([values, rest]), rng)

    def top(count: int) -> Array:
        return np.concatenate([np.ones(count), 0.5 * rng.random(16 - count)])

    spike = np.zeros(256)
    spike[37] = 3.0
    sparse = np.zeros(256)
    sparse[[3, 50, 51, 200]] = [1.0, -2.0, 0.5, 1.0]
    return {
        "a block of zeros": first_block(np.zeros(16)),
        "all blocks but one of zeros": latent_of(np.concatenate([np.ones(16), np.zeros(112)]), rng),
        "16 equal magnitudes": first_block(np.ones(16)),
        "the 13 largest equal": first_block(top(13)),
        "the 14 largest equal": first_block(top(14)),
        "the 15 largest equal": first_block(top(15)),
        "equal within 1e-7": first_block(1 + 1e-7 * rng.random(16)),
        "zeros among others": first_block(np.where(np.arange(16) % 3 == 0, 0.0, rng.random(16))),
        "two of sixteen not zero": first_block(np.where(np.arange(16) < 2, 1.0, 0.0)),
        "one of sixteen not zero": first_block(np.where(np.arange(16) == 9, 1.0, 0.0)),
        "one tiny": first_block(np.where(np.arange(16) == 9, 1e-30, 1.0)),
        "one huge": first_block(np.where(np.arange(16) == 9, 1e12, 1.0)),
        "constant": np.full(256, 0.3),
        "one entry": spike,
        "first entry": np.eye(256)[0],
        "alternating": (-1.0) ** time,
        "sinusoid": np.sin(2 * np.pi * 5 * time / 256),
        "sinusoid off the grid": np.sin(2 * np.pi * 5.3 * time / 256),
        "sparse": sparse,
        "ramp": time - 100.0,
    }


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_samples_land_on_the_set_deterministically_and_as_near_as_scipy_can_bring_them(name: str):
    latent = degenerate()[name]
    for dtype in (torch.float32, torch.float64):
        x = torch.from_numpy(latent).to(dtype)[None]
        projected = project(x)
        assert_on_set(projected, 16)
        assert torch.equal(project(x), projected)
        beside = torch.cat([normal(1, 256, dtype=dtype), x])
        torch.testing.assert_close(project(beside)[1:], projected, rtol=0, atol=1e-6)
    w = np.abs(plain_compact(latent))[:16]
    norm = max(np.linalg.norm(w), 1e-6)
    mine = np.abs(plain_compact(ours(latent, 16)))[:16]
    brute = nearest_by_scipy(w / norm, np.random.default_rng(0), starts=4)
    assert mine @ w >= brute @ w - 1e-6 * norm  # all feasible points have one norm: nearest means largest product


def test_of_equal_magnitudes_the_earlier_get_more_and_zeros_get_phase_0():
    y = torch.tensor([[0.0] * 16 + [1.0] * 16 + [1.0] * 6 + [0.5, 0.25] + [1.0] * 8], dtype=torch.complex64)
    project_coefficients_(y, 16)
    assert torch.equal(y, y.real.abs().to(y.dtype))
    zeros, ones, most = y.real.unflatten(1, (3, 16))[0]
    assert torch.equal(zeros, ones)
    assert most[6] == 0 == most[7]
    for equal in (ones, most[most > 0]):
        assert len(equal) > math.pi * 4 and bool((equal.diff() < 0).all())


@pytest.mark.parametrize("scale", [1e-30, 1e-37, 1e-41])
def test_coefficients_at_the_end_of_the_number_range_land_on_the_set(scale: float):
    y = torch.complex(normal(2, 64), normal(2, 64, seed=1)) * scale
    y[0, :3] = y[1, 40] = 1.0
    project_coefficients_(y, 16)
    blocks = y.to(torch.complex128).abs().unflatten(1, (-1, 16))
    torch.testing.assert_close(blocks.sum(2), torch.full_like(blocks[..., 0], MEAN * 16), rtol=1e-5, atol=0)
    torch.testing.assert_close(blocks.square().sum(2), torch.full_like(blocks[..., 0], 16), rtol=1e-5, atol=0)


def test_the_host_looks_at_the_numbers_once_and_the_spectrum_is_transformed_once_each_way():
    """A look is a synchronisation on a GPU. Zeros and ties need no other."""
    x = torch.cat([normal(1, 256), torch.eye(256)[:1], torch.full((1, 256), 0.3)])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        project(x)
    calls = Counter(event.name for event in profile.events() or ())
    assert [calls[f"aten::{name}"] for name in ("_local_scalar_dense", "_fft_r2c", "_fft_c2r")] == [1, 1, 1]
    assert not calls["aten::nonzero"]


# What is refused


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, -math.inf])
def test_a_sample_without_direction_is_refused(bad: float):
    x = normal(3, 512)
    x[1] = 0.0
    x[1, 7] = bad
    with pytest.raises(ValueError, match="finite and not all zero"):
        project(x)


@pytest.mark.parametrize(
    ("n", "block"), [(511, 16), (512 + 16, 16), (16, 16), (512, 0), (512, 1), (512, -16), (512, 7)]
)
def test_a_block_that_does_not_tile_is_refused_with_both_numbers(n: int, block: int):
    with pytest.raises(ValueError, match=rf"{n} latent entries .* blocks of {block} "):
        project(normal(1, n), block)


def test_other_dtypes_and_shapes_are_refused_with_what_came():
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match=str(dtype)):
            project(normal(1, 512).to(dtype))
    with pytest.raises(ValueError, match="even number of latent entries, got 7"):
        compact(normal(1, 7))
    with pytest.raises(ValueError, match=r"batch \(b, \*latent\).*x\[None\]"):
        project(torch.randn(32))
