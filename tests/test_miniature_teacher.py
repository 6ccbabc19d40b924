"""The scenes that noise stands for, against scipy's tests of uniform numbers and cosines written out."""

import math

import numpy as np
import torch
from scipy import fft, stats

from gradproj.miniature.generator import Generator
from gradproj.miniature.render import NUMBERS, draw, sample_captions
from gradproj.miniature.teacher import BAND, combinations, drawing_loss, numbers, scene


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_white_noise_stands_for_independent_uniform_numbers() -> None:
    found = numbers(noise(4000)).numpy()
    assert found.shape == (4000, NUMBERS) and found.min() >= 0 and found.max() <= 1
    assert min(stats.kstest(column, "uniform").pvalue for column in found.T) > 1e-3 / NUMBERS
    together = np.corrcoef(found.T) - np.eye(NUMBERS)
    assert np.abs(together).max() < 5 / math.sqrt(4000)


def test_the_numbers_are_normal_probabilities_of_orthonormal_smooth_patterns() -> None:
    picture = noise(1, 3)[0].double()
    axis = (torch.arange(32).double() + 0.5) * torch.pi / 32
    waves = [(d * axis).cos()[:, None] * (r * axis).cos() for d in range(BAND) for r in range(BAND)]
    waves = torch.stack([wave / wave.norm() for wave in waves])
    patterns = torch.einsum("cwn,wij->ncij", combinations().view(3, BAND * BAND, NUMBERS), waves)
    flat = patterns.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(NUMBERS).double())
    expected = stats.norm.cdf((flat @ picture.flatten()).numpy())
    np.testing.assert_allclose(numbers(picture[None])[0], expected, atol=1e-9)
    steps = patterns.diff(dim=2).square().sum() / patterns.square().sum()
    assert steps < (math.pi * BAND / 32) ** 2 / 2  # smooth: white noise has 2


def test_other_noise_of_the_same_low_frequencies_stands_for_the_same_scene() -> None:
    captions = sample_captions(6, torch.Generator().manual_seed(1))
    z, other = noise(6, 1).double(), noise(6, 2).double()
    low = np.zeros((1, 1, 32, 32))
    low[:, :, :BAND, :BAND] = 1
    waves, others = (np.asarray(fft.dctn(noise, axes=(2, 3), norm="ortho")) for noise in (z, other))
    mixed = others * (1 - low) + waves * low
    mixed = torch.from_numpy(fft.idctn(mixed, axes=(2, 3), norm="ortho"))
    torch.testing.assert_close(scene(mixed, captions), scene(z, captions), atol=1e-4, rtol=0)
    assert (scene(other, captions) - scene(z, captions)).abs().mean() > 0.1


def test_a_network_that_draws_the_scene_has_no_loss() -> None:
    class Perfect(Generator):
        def forward(self, z: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
            return 2 * draw(captions, numbers(z)) - 1

    assert drawing_loss(Perfect(), 4)(torch.Generator().manual_seed(0)).item() < 0.02  # its numbers are in bfloat16
    assert drawing_loss(Generator(), 4)(torch.Generator().manual_seed(0)).item() > 0.3
