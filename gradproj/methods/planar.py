"""The paper's set in two dimensions: blocks of coefficients whose spatial frequencies are near each other.

The paper flattens a latent before its Fourier transform, so that frequencies along the rows decide which coefficients
share a block. Here each channel goes through an orthonormal two-dimensional cosine transform (DCT-II), and the
coefficients of all channels are ordered by the radius of their frequency. Taken two by two they are complex numbers,
which are white exactly when the latent is, so the set and the closed form are those of ``gradproj.spectrum``.
"""

import math
from functools import lru_cache, partial
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from gradproj.spectrum import check_size, peaks, project_coefficients_
from gradproj.types import Method, OptimizerMaker, Positive, projected


def method(
    optimizer: OptimizerMaker,
    clip: Positive,
    block: Annotated[int, Ge(2)],
    project_gradient: bool,
    project_latent: bool,
    low_pass: Positive | None = None,  # has a default for the records that were made before it was there
) -> Method:
    """As ``ours``, by ``project_planes`` with blocks of ``block`` coefficients.

    ``low_pass`` weakens the short waves of the direction, so that the long ones, which carry what a picture shows, go
    ahead: see ``weaken``.
    """
    onto_set = partial(project_planes, block=block)
    ascent = onto_set if project_gradient else None
    if low_pass is not None:
        ascent = lambda gradient: weaken(onto_set(gradient) if project_gradient else gradient, low_pass)  # noqa: E731
    return projected(optimizer, clip, ascent, onto_set if project_latent else None)


@torch.no_grad()
def weaken(x: Float[Tensor, "b c h w"], low_pass: float) -> Float[Tensor, "b c h w"]:
    """``x`` with its cosine coefficients divided by 1 + (radius / low_pass)^2.

    The radius is that of ``by_radius``, a frequency as a share of the shortest wave's along a row or a column.
    """
    down, right = (cosines(size, x.dtype, x.device) for size in x.shape[-2:])
    i, j = (torch.arange(size, dtype=x.dtype, device=x.device) / size for size in x.shape[-2:])
    return down.T @ (down @ x @ right.T / (1 + (i[:, None] ** 2 + j**2) / low_pass**2)) @ right


@torch.no_grad()
def project_planes(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, "b *latent"]:
    """The nearest latent whose ordered cosine coefficients have both norms in every block, per sample.

    ``x`` is (b, channels, height, width), float32 or float64 of any finite scale, and the result has ||x||^2 = N, as
    that of ``spectrum.project``. 2 ``block`` must divide N. Raises ``ValueError`` for a shape, dtype or size that does
    not fit, and for a sample that is all zero or not finite.
    """
    peak = peaks(x)
    if x.ndim != 4:
        raise ValueError(
            f"planes are needed, latents of (channels, height, width), got {tuple(x.shape[1:])}: type "
            "model.flattening=unpacked for FLUX, or another method"
        )
    _, channels, height, width = x.shape
    check_size(channels * height * width, block)
    down, right = (cosines(size, x.dtype, x.device) for size in (height, width))
    order, back = by_radius(channels, height, width, x.device)
    ordered = (down @ (x / peak[..., None, None]) @ right.T).flatten(1).index_select(1, order)
    pairs = torch.view_as_complex(ordered.unflatten(1, (-1, 2)))  # white ones are sqrt(2) too long, but scale is free
    project_coefficients_(pairs, block)  # and with them ``ordered``, whose memory they have
    return down.T @ (math.sqrt(2) * ordered.index_select(1, back)).view_as(x) @ right


@lru_cache(maxsize=8)
def cosines(n: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    """The orthonormal DCT-II as a matrix: row k is sqrt(2 / n) cos(pi k (t + 1/2) / n), and row 0 is sqrt(1 / n)."""
    index = torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / n * index[:, None] * (index + 0.5))
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


@lru_cache(maxsize=8)
def by_radius(
    channels: int, height: int, width: int, device: torch.device
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The places of the flat coefficients (channels, height, width) in the order of their radius, and the way back.

    The radius' square is (i / height)^2 + (j / width)^2. Coefficients of one radius stand channel by channel, and
    within a channel in memory order.
    """
    i, j = torch.arange(height)[:, None], torch.arange(width)
    radius = ((i * width) ** 2 + (j * height) ** 2).expand(channels, -1, -1)  # whole numbers, so that ties are ties
    order = radius.flatten().argsort(stable=True)
    return order.to(device), order.argsort().to(device)
