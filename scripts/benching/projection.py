"""The projection beside the FFT round trip that it contains, and beside its formula taken literally."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradproj.spectrum import project

BLOCK = 16


def round_trip(x: Tensor) -> Tensor:
    """The real FFT of every sample, and its inverse."""
    return torch.fft.irfft(torch.fft.rfft(x, norm="ortho"), norm="ortho")


def literal(x: Tensor) -> Tensor:
    """The formula of arXiv 2602.08646 line by line, for a batch (b, N): right for noise, NaN where magnitudes tie.

    The unitary FFT, folded; in each block the magnitudes w sorted downwards, sums S1 and S2 of the first n of them and
    of their squares; the threshold is the largest of
    (S1 - sqrt((n S2 - S1^2) L^2 / (n B - L^2))) / n over the n with n B > L^2, where L = sqrt(pi) B / 2.
    """
    count = x.shape[1] // 2
    full = torch.fft.fft(x, norm="ortho")
    y = full[:, :count].clone()
    y[:, 0] = torch.complex(full[:, 0].real, full[:, count].real) / math.sqrt(2)
    blocks = y.reshape(len(x), -1, BLOCK)
    magnitude = blocks.abs()
    w = magnitude.sort(dim=-1, descending=True).values
    n = torch.arange(1, BLOCK + 1, dtype=x.dtype, device=x.device)
    first, second, total = w.cumsum(-1), w.square().cumsum(-1), math.sqrt(math.pi) * BLOCK / 2
    inside = (n * second - first.square()) * total**2 / (n * BLOCK - total**2)
    threshold = ((first - inside.clamp(min=0).sqrt()) / n).where(n * BLOCK > total**2, -torch.inf)
    kept = (magnitude - threshold.amax(-1, keepdim=True)).clamp(min=0)
    kept = kept * total / kept.sum(-1, keepdim=True)
    z = (kept * blocks / magnitude).reshape(len(x), count)
    whole = torch.empty_like(full)
    whole[:, 1:count] = z[:, 1:]
    whole[:, count + 1 :] = z[:, 1:].flip(1).conj()
    whole[:, 0], whole[:, count] = z[:, 0].real * math.sqrt(2), z[:, 0].imag * math.sqrt(2)
    return torch.fft.ifft(whole, norm="ortho").real


def works(n: int, batch: int) -> Mapping[str, Callable[[], Tensor]]:
    """The three on the same noise."""
    x = torch.randn(batch, n, generator=torch.Generator().manual_seed(0))
    return {"FFT and inverse": lambda: round_trip(x), "projection": lambda: project(x), "literal": lambda: literal(x)}
