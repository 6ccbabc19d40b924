"""The set on a two-dimensional spectrum, against scipy's cosine transform and the letter of the closed form."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from test_spectrum import plain_magnitudes

from gradproj.methods import planar
from gradproj.methods.planar import by_radius, cosines, project_planes

fft: Any = scipy.fft
Array = NDArray[Any]
CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def transformed(x: Array) -> Array:
    return fft.dctn(x, axes=(-2, -1), norm="ortho")


def plain_order(channels: int, height: int, width: int) -> list[int]:
    places = [(c, i, j) for c in range(channels) for i in range(height) for j in range(width)]
    key = {place: ((place[1] * width) ** 2 + (place[2] * height) ** 2, *place) for place in places}
    return [places.index(place) for place in sorted(places, key=key.__getitem__)]


def plain_planes(x: Array, block: int) -> Array:
    """One latent (channels, height, width), coefficient by coefficient."""
    order = plain_order(*x.shape)
    ordered = transformed(x).ravel()[order]
    y = (ordered[0::2] + 1j * ordered[1::2]) / np.sqrt(2)
    for start in range(0, len(y), block):
        part = y[start : start + block]
        y[start : start + block] = plain_magnitudes(np.abs(part)) * part / np.abs(part)
    back = np.empty(len(order))
    back[order] = np.stack([y.real, y.imag], axis=1).ravel() * np.sqrt(2)
    return fft.idctn(back.reshape(x.shape), axes=(-2, -1), norm="ortho")


def test_the_matrix_is_scipys_orthonormal_cosine_transform():
    for n in (1, 2, 8, 15):
        matrix = cosines(n, torch.float64, CPU).numpy()
        np.testing.assert_allclose(matrix, fft.dct(np.eye(n), axis=0, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 6), (1, 16, 4), (32, 4, 4)])
def test_coefficients_are_ordered_by_radius_then_channel_then_place(shape: tuple[int, int, int]):
    order, back = by_radius(*shape, CPU)
    assert order.tolist() == plain_order(*shape)
    assert torch.equal(order[back], torch.arange(order.numel()))


@pytest.mark.parametrize(("shape", "block"), [((3, 8, 8), 16), ((3, 8, 8), 4), ((2, 4, 8), 8), ((4, 16, 8), 32)])
def test_projection_is_the_plain_one(shape: tuple[int, int, int], block: int):
    x = normal(2, *shape) * torch.tensor([1e-9, 30.0]).view(2, 1, 1, 1).double()
    for one, answer in zip(x.numpy(), project_planes(x, block).numpy(), strict=True):
        np.testing.assert_allclose(answer, plain_planes(one, block), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_set_is_kept_free_of_scale_and_near_to_noise(dtype: torch.dtype):
    x = normal(4, 3, 32, 32).to(dtype)
    once = project_planes(x)
    tight = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(once.flatten(1).square().mean(1), torch.ones(4, dtype=dtype), rtol=0, atol=1e-5)
    torch.testing.assert_close(project_planes(once), once, rtol=0, atol=3 * tight)
    torch.testing.assert_close(project_planes(x * 1e-20), once, rtol=0, atol=tight)
    torch.testing.assert_close(project_planes(-x), -once, rtol=0, atol=tight)
    torch.testing.assert_close(once, torch.cat([project_planes(one[None]) for one in x]), rtol=0, atol=1e-5)
    assert torch.cosine_similarity(x.flatten(1), once.flatten(1)).mean() == pytest.approx(0.98937, abs=0.002)
    blocks = transformed(once.double().numpy()).reshape(4, -1)[:, plain_order(3, 32, 32)].reshape(4, -1, 16, 2)
    magnitudes = np.hypot(blocks[..., 0], blocks[..., 1]) / np.sqrt(2)
    np.testing.assert_allclose(magnitudes.sum(2), math.sqrt(math.pi) / 2 * 16, rtol=1e-5)
    np.testing.assert_allclose((magnitudes**2).sum(2), 16, rtol=1e-5)


def test_gradient_and_latent_are_projected_unless_switched_off():
    x, g = normal(2, 3, 8, 8).float(), normal(2, 3, 8, 8, seed=1).float()
    for gradient, latent in ((True, True), (True, False), (False, True), (False, False)):
        method = planar.method(torch.optim.Adam, 0.03, 8, gradient, latent)
        assert torch.equal(method.direction(x, g, []), project_planes(g, 8) if gradient else g)
        assert torch.equal(method.retract(x), project_planes(x, 8) if latent else x)


def test_what_is_no_plane_does_not_tile_or_has_no_direction_is_refused():
    with pytest.raises(ValueError, match=r"got \(1024, 64\): type model.flattening=unpacked"):
        project_planes(normal(1, 1024, 64))
    with pytest.raises(ValueError, match=r"48 latent entries .* blocks of 16 "):
        project_planes(normal(1, 3, 4, 4))
    for bad in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and not all zero"):
            project_planes(torch.full((1, 2, 4, 4), bad))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 8, 16)])
def test_a_low_pass_divides_scipys_coefficients_by_the_distance_from_the_longest_wave(shape: tuple[int, ...]) -> None:
    x = normal(2, *shape, seed=4)
    weakened = transformed(planar.weaken(x, 0.5).numpy())
    for i, j in ((0, 0), (shape[1] // 2, 0), (0, shape[2] // 2), (shape[1] - 1, shape[2] - 1)):
        radius = math.hypot(i / shape[1], j / shape[2])
        expected = transformed(x.numpy())[..., i, j] / (1 + (radius / 0.5) ** 2)
        assert weakened[..., i, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("project_gradient", [True, False])
def test_a_low_pass_is_of_the_direction_and_the_latent_stays_on_the_set(project_gradient: bool) -> None:
    def make(low_pass: float | None) -> Any:
        return planar.method(torch.optim.Adam, 1.0, 16, project_gradient, True, low_pass)

    gradient = normal(1, 3, 32, 32).float()
    plain, smooth = (make(low_pass).direction(gradient, gradient, []) for low_pass in (None, 0.5))
    assert torch.equal(smooth, planar.weaken(plain, 0.5)) and not torch.allclose(smooth, plain)
    assert torch.equal(make(0.5).retract(gradient), project_planes(gradient, 16))
