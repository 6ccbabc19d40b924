"""MPGR (arXiv 2509.07027): moments of the latent and the power of its shuffled spectrum, balanced with the reward."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradproj.types import Method, NotNegative, OptimizerMaker, Positive


def method(
    optimizer: OptimizerMaker, clip: Positive, weight: NotNegative, power_weight: NotNegative, power_mean: Positive
) -> Method:
    """The reward's gradient g minus ``weight`` ||g|| times the unit gradient of ``penalty``, newly shuffled."""

    def direction(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
        entries = latent[0].numel()
        orders = torch.stack([torch.randperm(entries, generator=sample) for sample in rng]).to(latent.device)
        with torch.enable_grad():
            leaf = latent.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(penalty(leaf, orders, power_weight, power_mean).sum(), leaf)
        ratio = _norm(reward_gradient) / _norm(gradient)
        return reward_gradient - weight * ratio.to(gradient.dtype) * gradient

    return Method(optimizer, direction, clip=clip)


def _norm(gradient: Tensor) -> Tensor:
    """The l2 norm of each sample in float64, (b, 1, ...), so that it broadcasts over the sample."""
    axes = tuple(range(1, gradient.ndim))
    return torch.linalg.vector_norm(gradient, dim=axes, keepdim=True, dtype=torch.float64)


def penalty(
    latent: Float[Tensor, "b *latent"],
    orders: Int[Tensor, "b n"],
    power_weight: float = 25.0,
    power_mean: float = 0.875,
    bins: int = 16,
) -> Float[Tensor, " b"]:
    """|mean x| + |rms x - 1| + power_weight * L_power.

    L_power is the mean of | mean |x^| - power_mean | over blocks of ``bins`` coefficients, where x^ is the FFT of x
    after its entries were shuffled by ``orders``. Raises ``ValueError`` where ``bins`` does not divide the entries.
    """
    flat = latent.flatten(1)
    if flat.shape[1] % bins:
        raise ValueError(f"MPGR's power term needs a latent whose size {bins} divides, got {flat.shape[1]} entries")
    spectrum = torch.fft.fft(flat.gather(1, orders), norm="ortho").abs()  # |x^_k| / sqrt(D)
    power = (spectrum.unflatten(1, (-1, bins)).mean(2) - power_mean).abs().mean(1)
    return flat.mean(1).abs() + (flat.square().mean(1).sqrt() - 1).abs() + power_weight * power
