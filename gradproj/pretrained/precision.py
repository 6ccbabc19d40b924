"""Half precision's narrow range, kept from swallowing a gradient or breaking it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HALVINGS = 16  # at most so many further attempts at a backward pass: then float16's gradients begin to vanish
Network = Callable[[Tensor], Tensor]  # (b, *latent) float32 -> (b, 3, h, w) float32, of every sample by itself


class GradientRange:
    """Keeps a backward pass through a float16 network in range; does nothing for the wider types.

    Each sample's gradient enters the network scaled by a power of two to a largest entry in [1, 2), and the scale is
    taken back behind it, so that a reward's gradient of 1e-9 per pixel is no longer zero in float16. Where a sample's
    gradient leaves the range on its way, the pass is made again at half of that sample's scale, HALVINGS times at most.
    ``halvings``, (b,) int64, has how often that was, in the backward pass of the last ``through``.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.needed = dtype is torch.float16
        self.halvings = torch.zeros(0, dtype=torch.int64)

    def through(self, network: Network, latent: Tensor) -> Tensor:
        """``network(latent)``, whose gradient in ``latent`` is exact up to what float16 itself rounds."""
        self.halvings = torch.zeros(len(latent), dtype=torch.int64, device=latent.device)
        if not (self.needed and torch.is_grad_enabled() and latent.requires_grad):
            return network(latent)
        return _Through.apply(latent, network, self.halvings)  # type: ignore[return-value]


class _Through(torch.autograd.Function):
    """Holds the network's own graph, whose backward pass it can make again: forward once more, and back."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, network: Network, halvings: Tensor) -> Tensor:
        ctx.network, ctx.halvings, ctx.start = network, halvings, latent.detach().requires_grad_()
        with torch.enable_grad():
            ctx.image = network(ctx.start)
        return ctx.image.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        incoming, image = gradients[0], ctx.image
        largest = incoming.flatten(1).abs().amax(dim=1)
        exponent = torch.where(largest.isfinite(), torch.frexp(largest).exponent - 1, 0)
        sound = largest.isfinite() & image.detach().flatten(1).isfinite().all(dim=1)
        answer = _scaled(image, ctx.start, incoming, exponent)
        for _ in range(0 if answer.is_meta else HALVINGS):  # what is only counted has no numbers
            over = sound & ~answer.flatten(1).isfinite().all(dim=1)
            if not over.any():
                break
            ctx.halvings += over
            exponent = exponent + over.to(exponent.dtype)
            with torch.enable_grad():
                image = ctx.network(ctx.start)
            again = _scaled(image, ctx.start, incoming, exponent)
            answer = torch.where(over.view(-1, *[1] * (answer.ndim - 1)), again, answer)
        return answer, None, None


def _scaled(image: Tensor, start: Tensor, incoming: Tensor, exponent: Tensor) -> Tensor:
    """The gradient in ``start``, by a backward pass at each sample's scale of 2^-``exponent``."""
    (gradient,) = torch.autograd.grad(image, start, _shift(incoming, -exponent))
    return _shift(gradient, exponent)


def _shift(gradient: Tensor, exponent: Tensor) -> Tensor:
    """Every sample times 2 to its exponent, in float32."""
    return torch.ldexp(gradient.float(), exponent.view(-1, *[1] * (gradient.ndim - 1)))
