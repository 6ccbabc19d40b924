"""The set that characterises white Gaussian noise, and the projection onto it (arXiv 2602.08646, section 4).

A latent x of N entries has a compact spectrum y of N/2 complex coefficients; y is white complex Gaussian exactly when
x is white Gaussian. The feasible set asks that every contiguous block of B coefficients has the l1 norm and the squared
l2 norm that such noise has in the mean, (sqrt(pi)/2) B and B. The nearest point is known in closed form, block by
block: phases stay, and magnitudes are soft-thresholded and scaled (Liu, Wang and Song 2020, arXiv 1911.03946).
"""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor


def compact(x: Float[Tensor, "b *latent"]) -> Complex[Tensor, "b half"]:
    """The compact spectrum y (Prop. 4.1) of float32 or float64 latents, N/2 coefficients with ||x||^2 = 2 ||y||^2.

    It is the unitary real FFT of each flattened sample, whose two real coefficients are folded into a complex one,
    y_0 = (x^_0 + i x^_{N/2}) / sqrt(2). Raises ``ValueError`` for an odd number of entries.
    """
    flat = x.flatten(1)
    if flat.shape[1] % 2:
        raise ValueError(f"the compact spectrum needs an even number of latent entries, got {flat.shape[1]}")
    spectrum = torch.fft.rfft(flat, norm="ortho")
    fold_(spectrum)
    return spectrum[:, :-1]


def expand(y: Complex[Tensor, "b half"]) -> Float[Tensor, "b n"]:
    """The inverse of ``compact``: flat real latents (b, N), N = 2 * half."""
    spectrum = torch.cat([y, y[:, :1]], dim=1)
    unfold_(spectrum)
    return torch.fft.irfft(spectrum, n=2 * y.shape[1], norm="ortho")


def fold_(spectrum: Complex[Tensor, "b ends"]) -> None:
    """Write the two real coefficients of a real FFT, the first and the last, into the first, which becomes y_0."""
    spectrum[:, 0] = torch.complex(spectrum[:, 0].real, spectrum[:, -1].real) / math.sqrt(2)


def unfold_(spectrum: Complex[Tensor, "b ends"]) -> None:
    """Write y_0, the first coefficient, back into the first and the last."""
    ends = spectrum[:, 0] * math.sqrt(2)
    spectrum[:, 0], spectrum[:, -1] = ends.real, ends.imag


@torch.no_grad()
def project(x: Float[Tensor, "b *latent"], block: int = 16, guard: float = 0.0) -> Float[Tensor, "b *latent"]:
    """The nearest point of the feasible set, per sample: ||project(x)||^2 = N, project(c x) = project(x) for c > 0.

    ``x`` is float32 or float64 of any finite scale. ``block`` is B, at least 2, and 2 B must divide N. No gradient is
    passed on. Where several points are nearest (for a block of zeros, or of many equal magnitudes), the earlier
    coefficients get more, and zeros get phase 0, so that the result is always the same. Raises ``ValueError`` for a
    dtype or size that does not fit, and for a sample that is all zero or not finite, which has no direction to keep.

    With a ``guard`` above 0 the result is not exact, but what absolute guards of that size make of it: see
    ``project_coefficients_``.
    """
    peak = peaks(x)
    flat = x.flatten(1)
    check_size(flat.shape[1], block)
    spectrum = torch.fft.rfft(flat / peak, norm="ortho")  # changed in place: new memory costs more than the sums do
    fold_(spectrum)
    project_coefficients_(spectrum[:, :-1], block, guard / peak)
    unfold_(spectrum)
    return torch.fft.irfft(spectrum, n=flat.shape[1], norm="ortho").view_as(x)


def peaks(x: Float[Tensor, "b *latent"]) -> Float[Tensor, "b 1"]:
    """The largest absolute entry of each sample, which it is divided by so that no square leaves the number range.

    Raises ``ValueError`` unless ``x`` is a batch of float32 or float64 samples that are finite and not all zero.
    """
    if x.ndim < 2:
        raise ValueError(f"a projection needs a batch (b, *latent), got shape {tuple(x.shape)}: add x[None]")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"a projection needs float32 or float64, got {x.dtype}: cast the latent up first")
    flat = x.flatten(1)
    peak = flat.amax(dim=1, keepdim=True).maximum(-flat.amin(dim=1, keepdim=True))
    if not bool(((peak > 0) & (peak < math.inf)).all()):
        raise ValueError("a projection needs every sample finite and not all zero: leave the others out")
    return peak


@torch.no_grad()
def project_coefficients_(y: Complex[Tensor, "b half"], block: int, guard: Float[Tensor, "b 1"] | float = 0.0) -> None:
    """Move complex coefficients, white in the mean, block by block to the nearest that have both norms, in place.

    ``y`` is in units in which its largest coefficients are around 1. A positive ``guard``, in the same units, gives the
    arithmetic of absolute guards: the magnitude that a phase is divided by and the sum of the magnitudes that a block
    keeps are each at least the guard, so that coefficients below it fade and the norms no longer hold.
    """
    blocks = y.unflatten(1, (-1, block))
    magnitude = modulus(blocks)
    smallest = block * torch.finfo(magnitude.dtype).tiny  # what a kept magnitude, below sqrt(block), can be divided by
    blocks.masked_fill_(magnitude < smallest, smallest)  # zeros get phase 0
    least = torch.as_tensor(guard, dtype=magnitude.dtype, device=magnitude.device)[..., None]
    factor = project_magnitudes(magnitude, least)
    factor /= magnitude.maximum(least.clamp(min=smallest))
    blocks.real.mul_(factor)  # part by part, as a complex product would make the factor complex in new memory
    blocks.imag.mul_(factor)


@torch.no_grad()
def flatness(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, " b"]:
    """Spectral flatness (Wiener entropy) per sample: geometric over arithmetic mean of the power spectrum, in [0, 1].

    The spectrum is the periodogram averaged over blocks of ``block`` coefficients (Daniell's estimate). White noise has
    about 1 - 1 / (2 block), a point of the feasible set has 1, and a coloured latent has less. Raises ``ValueError``
    for a size that does not fit.
    """
    check_size(x[0].numel(), block)
    power = compact(x.double()).abs().square().unflatten(1, (-1, block)).mean(2)
    return (power.log().mean(1).exp() / power.mean(1)).to(x.dtype)


@torch.no_grad()
def distance(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, " b"]:
    """The distance from x to project(x) per sample, as the root mean square over its entries.

    It is 0 on the feasible set, about .146 for white noise (B = 16), and NaN for a sample that is all zero or not
    finite. Raises ``ValueError`` for a dtype or size that does not fit.
    """
    check_size(x[0].numel(), block)
    flat = x.flatten(1)
    usable = flat.isfinite().all(1) & (flat != 0).any(1)
    flat = flat.where(usable[:, None], 1)  # what stands in for the others can be projected
    return (flat - project(flat, block)).square().mean(1).sqrt().where(usable, math.nan)


def check_size(n: int, block: int) -> None:
    """Raise ``ValueError`` unless blocks of ``block`` coefficients tile the spectrum of ``n`` latent entries."""
    if block < 2 or n <= 0 or n % (2 * block):
        raise ValueError(
            f"{n} latent entries give {n / 2:g} coefficients, which blocks of {block} do not tile: "
            "choose a block of at least 2 whose double divides the number of latent entries"
        )


def project_magnitudes(
    magnitude: Float[Tensor, "b rows block"], guard: Float[Tensor, "..."] | float = 0.0
) -> Float[Tensor, "b rows block"]:
    """Nearest m >= 0 with sum m = (sqrt(pi)/2) B and sum m^2 = B for each row of B magnitudes, finite and >= 0.

    All points of that set have the same norm, so the nearest has the largest inner product with the magnitudes. All
    have the same sum, too, so adding a constant to the magnitudes or scaling them leads to the same point. For accuracy
    they are therefore taken as depths below the largest, in units of their own spread.

    If the n least depths are kept, both norms ask that they are measured from the depth
    mean + sqrt(variance critical / (n - critical)), critical = pi B / 4, of their own mean and variance. The right n is
    that with the least such depth: a wrong one keeps what is deeper or leaves out what is not, and either makes the
    squared sum too small for the sum of squares, which only a larger depth makes up for.

    A row whose kept magnitudes sum to less than ``guard`` (which broadcasts over the rows) comes out smaller by that
    factor. Magnitudes that tie are taken to be a guard apart, as noise of that size would have them.
    """
    block, tiny = magnitude.shape[-1], torch.finfo(magnitude.dtype).tiny
    total, critical = math.sqrt(math.pi) / 2 * block, math.pi * block / 4
    least = math.floor(critical) + 1  # the fewest coefficients that can have both norms: n > pi B / 4
    n = torch.arange(1, block + 1, device=magnitude.device, dtype=magnitude.dtype)
    depth = magnitude.amax(dim=-1, keepdim=True) - magnitude
    depth += tiny * n  # less than any rounding: any split among equal magnitudes is nearest, and earlier ones get more
    deep = ascending(depth)[..., least - 1 :].movedim(-1, 0).contiguous()  # the n-th least depth, n = least..B
    spread = deep[0, ..., None]
    depth /= spread
    deep, n = (deep / deep[0]).clamp(max=1e6), n[least - 1 :, None, None]

    shallow = depth.clamp(max=1)  # those from the least-th on, len(n) of them, are 1, and ``deep`` has what they are
    mean = (shallow.sum(dim=-1) - len(n) + deep.cumsum(dim=0)) / n
    square = (shallow.square_().sum(dim=-1) - len(n) + deep.square().cumsum(dim=0)) / n
    variance = (square - mean.square()).clamp(min=0)
    bottom = (mean + (variance * (critical / (n - critical))).sqrt()).amin(dim=0)[..., None]
    kept = depth.neg_().add_(bottom).clamp_(min=0)
    enough = (guard / spread).where(spread > block * tiny, 0)  # the guard in units of the spread
    kept *= total / kept.sum(dim=-1, keepdim=True).maximum(enough)
    return kept


def modulus(y: Complex[Tensor, "..."]) -> Float[Tensor, "..."]:
    """|y| also of numbers so small that their squares underflow. On a processor numpy is five times faster."""
    return torch.from_numpy(np.abs(y.numpy())) if y.is_cpu else torch.hypot(y.real, y.imag)


def ascending(rows: Float[Tensor, "... block"]) -> Float[Tensor, "... block"]:
    """Each row sorted. On a processor numpy is six times faster for short rows."""
    return torch.from_numpy(np.sort(rows.numpy())) if rows.is_cpu else rows.sort(dim=-1).values
