"""MPGR (arXiv 2509.07027): moments of the latent and the power of its shuffled spectrum, balanced with the reward."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradproj.types import Method, NotNegative, OptimizerMaker, Positive


def method(
    optimizer: OptimizerMaker, clip: Positive, weight: NotNegative, power_weight: NotNegative, power_mean: Positive
) -> Method:
    """Reward gradient g minus ``weight`` ||g|| times the unit gradient of ``penalty``, freshly shuffled each step."""

    def direction(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
        orders = torch.stack([torch.randperm(latent[0].numel(), generator=one) for one in rng]).to(latent.device)
        with torch.enable_grad():
            leaf = latent.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(penalty(leaf, orders, power_weight, power_mean).sum(), leaf)
        each = tuple(range(1, latent.ndim))
        strength, own = (
            torch.linalg.vector_norm(one, dim=each, keepdim=True, dtype=torch.float64)
            for one in (reward_gradient, gradient)
        )
        return reward_gradient - weight * (strength / own).to(gradient.dtype) * gradient

    return Method(optimizer, direction, clip=clip)


def penalty(
    latent: Float[Tensor, "b *latent"],
    orders: Int[Tensor, "b n"],
    power_weight: float = 25.0,
    power_mean: float = 0.875,
    bins: int = 16,
) -> Float[Tensor, " b"]:
    """|mean x| + |rms x - 1| + power_weight * L_power.

    L_power is the mean over blocks of ``bins`` of | mean |x^| - power_mean |, x^ the FFT of x shuffled by ``orders``.
    """
    flat = latent.flatten(1)
    if flat.shape[1] % bins:
        raise ValueError(f"MPGR's power term needs a latent whose size {bins} divides, got {flat.shape[1]} entries")
    spectrum = torch.fft.fft(flat.gather(1, orders), norm="ortho").abs()  # |x^_k| / sqrt(D)
    power = (spectrum.unflatten(1, (-1, bins)).mean(2) - power_mean).abs().mean(1)
    return flat.mean(1).abs() + (flat.square().mean(1).sqrt() - 1).abs() + power_weight * power
