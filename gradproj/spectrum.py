"""The set that characterises white Gaussian noise, and the projection onto it (arXiv 2602.08646, section 4).

A latent x of N entries has a compact spectrum y of N/2 complex coefficients; y is white complex Gaussian exactly when
x is white Gaussian. The feasible set asks that every contiguous block of B coefficients has the l1 norm and the squared
l2 norm that such noise has in the mean, (sqrt(pi)/2) B and B. The nearest point has a closed form per block: keep the
phases, soft-threshold the magnitudes, scale (Liu, Wang and Song 2020, arXiv 1911.03946).
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def compact(x: Float[Tensor, "b *latent"]) -> Complex[Tensor, "b half"]:
    """Compact spectrum y (Prop. 4.1) of float32 or float64 latents: unitary real FFT of each flattened sample,
    its two real coefficients folded into one, y_0 = (x^_0 + i x^_{N/2}) / sqrt(2). ||x||^2 = 2 ||y||^2.
    """
    flat = x.flatten(1)
    if flat.shape[1] % 2:
        raise ValueError(f"the compact spectrum needs an even number of latent entries, got {flat.shape[1]}")
    spectrum = torch.fft.rfft(flat, norm="ortho")
    first = torch.complex(spectrum[:, :1].real, spectrum[:, -1:].real) / math.sqrt(2)
    return torch.cat([first, spectrum[:, 1:-1]], dim=1)


def expand(y: Complex[Tensor, "b half"]) -> Float[Tensor, "b n"]:
    """The inverse of ``compact``: flat real latents (b, N), N = 2 * half."""
    ends = y[:, :1] * math.sqrt(2)
    zero = torch.zeros_like(ends.real)
    spectrum = torch.cat([torch.complex(ends.real, zero), y[:, 1:], torch.complex(ends.imag, zero)], dim=1)
    return torch.fft.irfft(spectrum, n=2 * y.shape[1], norm="ortho")


@torch.no_grad()
def project(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, "b *latent"]:
    """The nearest point of the feasible set, per sample: ||project(x)||^2 = N, project(c x) = project(x) for c > 0.

    ``x`` float32 or float64 of any finite scale; ``block`` = B at least 2, 2 B divides N. Not differentiated. Where the
    nearest point is not unique (a block of zeros, or of many equal magnitudes) the choice is fixed: earlier
    coefficients get more, zeros get phase 0. Raises ``ValueError`` for a dtype or size that does not fit, and for a
    sample that is all zero or not finite: it has no direction to keep.
    """
    if x.ndim < 2:
        raise ValueError(f"project needs a batch (b, *latent), got shape {tuple(x.shape)}: add x[None]")
    flat = x.flatten(1)
    check_size(flat.shape[1], block)
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"project needs float32 or float64, got {x.dtype}: cast the latent up first")
    peak = flat.abs().amax(dim=1, keepdim=True)
    if not bool(((peak > 0) & peak.isfinite()).all()):
        raise ValueError("project needs every sample finite and not all zero: leave the others out")
    y = compact(flat / peak).unflatten(1, (-1, block))
    magnitude = torch.hypot(y.real, y.imag)  # unlike abs(), right for the smallest coefficients too
    known = magnitude >= torch.finfo(x.dtype).tiny
    phase = torch.where(known, y / magnitude.where(known, 1), 1)
    return expand((project_magnitudes(magnitude) * phase).flatten(1)).view_as(x)


@torch.no_grad()
def flatness(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, " b"]:
    """Spectral flatness (Wiener entropy) per sample: geometric over arithmetic mean of the power spectrum, in [0, 1].

    The spectrum is the periodogram averaged over blocks of ``block`` coefficients (Daniell's estimate): of white noise
    about 1 - 1 / (2 block), of a point of the feasible set 1, of a coloured latent less. ``ValueError`` as ``project``.
    """
    check_size(x[0].numel(), block)
    power = compact(x.double()).abs().square().unflatten(1, (-1, block)).mean(2)
    return (power.log().mean(1).exp() / power.mean(1)).to(x.dtype)


@torch.no_grad()
def distance(x: Float[Tensor, "b *latent"], block: int = 16) -> Float[Tensor, " b"]:
    """Root mean square over the entries of x - project(x), per sample: 0 on the feasible set, .146 for white noise
    (B = 16). NaN for a sample that is all zero or not finite; otherwise ``ValueError`` as ``project``.
    """
    check_size(x[0].numel(), block)
    flat = x.flatten(1)
    usable = flat.isfinite().all(1) & (flat != 0).any(1)
    apart = torch.full_like(flat[:, 0], math.nan)
    apart[usable] = (flat[usable] - project(flat[usable], block)).square().mean(1).sqrt()
    return apart


def check_size(n: int, block: int) -> None:
    """Raise ``ValueError`` unless blocks of ``block`` coefficients tile the spectrum of ``n`` latent entries."""
    if block < 2 or n <= 0 or n % (2 * block):
        raise ValueError(
            f"{n} latent entries give {n / 2:g} coefficients, which blocks of {block} do not tile: "
            "choose a block of at least 2 whose double divides the number of latent entries"
        )


def project_magnitudes(magnitude: Float[Tensor, "... block"]) -> Float[Tensor, "... block"]:
    """Nearest m >= 0 with sum m = (sqrt(pi)/2) B and sum m^2 = B for each row of B magnitudes, finite and >= 0.

    On that set the nearest point is the one of largest inner product, which adding a constant to all magnitudes or
    scaling them does not move: so they are measured downwards from the largest, in units of their own spread.
    """
    block = magnitude.shape[-1]
    total, critical = math.sqrt(math.pi) / 2 * block, math.pi * block / 4
    least = math.floor(critical) + 1  # fewest coefficients that can carry both norms: n > pi B / 4
    w, order = magnitude.sort(dim=-1, descending=True, stable=True)
    w = w - w[..., :1]
    spread = -w[..., least - 1 : least]
    rank = torch.arange(block, device=w.device, dtype=w.dtype)
    tied = torch.where(w == 0, -rank, -1e6)  # any split among the tied is nearest: let it fall with the rank
    w = torch.where(spread > 0, w / spread.where(spread > 0, 1), tied).clamp(min=-1e6)

    n = rank[least - 1 :] + 1
    s1, s2 = w.cumsum(-1)[..., least - 1 :], w.square().cumsum(-1)[..., least - 1 :]
    threshold = (s1 - (critical * (n * s2 - s1.square()) / (n - critical)).clamp(min=0).sqrt()) / n  # lambda(n)
    below = torch.nn.functional.pad(w[..., least:], (0, 1), value=-math.inf)  # w_{n+1}
    first = (threshold >= below).to(torch.int8).argmax(dim=-1, keepdim=True)
    kept = (w - threshold.gather(-1, first)).clamp(min=0)
    kept = kept * (total / kept.sum(dim=-1, keepdim=True))
    return torch.empty_like(kept).scatter_(-1, order, kept)
