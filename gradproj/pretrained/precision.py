"""Half precision's narrow range, kept from swallowing a gradient."""

from typing import Any

import torch
from torch import Tensor


class GradientRange:
    """Keeps a backward pass through a float16 network in range: identity forwards, exact up to powers of two backwards.

    ``leave`` marks the network's float32 result: there each sample's gradient is scaled to a largest entry in [1, 2);
    ``enter`` marks its float32 input: there the scale is taken back. A reward's gradient of 1e-9 per pixel is then no
    longer zero in float16. One object per pass; both do nothing for the wider types.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.needed = dtype is torch.float16
        self.exponent = torch.zeros(())

    def enter(self, latent: Tensor) -> Tensor:
        return _Enter.apply(latent, self) if self.needed else latent  # type: ignore[return-value]

    def leave(self, image: Tensor) -> Tensor:
        return _Leave.apply(image, self) if self.needed else image  # type: ignore[return-value]


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, gradient_range: GradientRange) -> Tensor:
        ctx.gradient_range = gradient_range
        return image.view_as(image)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        largest = gradients[0].flatten(1).abs().amax(dim=1)
        exponent = torch.where(largest.isfinite(), torch.frexp(largest).exponent - 1, 0)
        ctx.gradient_range.exponent = exponent
        return _shift(gradients[0], -exponent), None


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, gradient_range: GradientRange) -> Tensor:
        ctx.gradient_range = gradient_range
        return latent.view_as(latent)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _shift(gradients[0], ctx.gradient_range.exponent), None


def _shift(gradient: Tensor, exponent: Tensor) -> Tensor:
    """Every sample times 2 to its exponent, in float32."""
    return torch.ldexp(gradient.float(), exponent.view(-1, *[1] * (gradient.ndim - 1)))
