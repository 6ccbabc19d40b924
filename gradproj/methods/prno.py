"""PRNO, the probability regularisation of DNO (Tang et al. 2024, arXiv 2405.18881).

The latent is cut into vectors of k entries, and improbable means and covariances of these vectors are punished.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradproj.types import Count, Method, NotNegative, OptimizerMaker, Positive


def method(
    optimizer: OptimizerMaker, clip: Positive, weight: NotNegative, dimension: Count, permutations: Count
) -> Method:
    """Climb the reward minus ``weight`` (gamma) times ``penalty``, with new random permutations at every step."""

    def direction(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
        orders = torch.stack([draw_orders(latent[0].numel(), permutations, sample) for sample in rng]).to(latent.device)
        with torch.enable_grad():
            leaf = latent.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(penalty(leaf, orders, dimension).sum(), leaf)
        return reward_gradient - weight * gradient

    return Method(optimizer, direction, clip=clip)


def draw_orders(n: int, permutations: int, rng: torch.Generator) -> Tensor:
    """Random orders of n entries, (permutations, n)."""
    return torch.stack([torch.randperm(n, generator=rng) for _ in range(permutations)])


def penalty(latent: Float[Tensor, "b *latent"], orders: Tensor, dimension: int = 4) -> Float[Tensor, " b"]:
    """R = -[log p1 + log p2] of the latent, plus the mean of the same over its ``orders`` (b, permutations, N)."""
    flat = latent.flatten(1)
    shuffled = flat[:, None].expand(-1, orders.shape[1], -1).gather(2, orders)
    return -log_probability(flat[:, None], dimension).squeeze(1) - log_probability(shuffled, dimension).mean(1)


def log_probability(flat: Float[Tensor, "b p n"], k: int) -> Float[Tensor, "b p"]:
    """log p1 + log p2: how probable it is that mean and covariance of m = n // k vectors are so far off."""
    m = flat.shape[-1] // k
    vectors = flat[..., : m * k].unflatten(-1, (m, k))  # Z
    mean_gap = vectors.mean(-2).square().sum(-1)  # M1^2
    covariance = vectors.transpose(-1, -2) @ vectors / m - torch.eye(k, device=flat.device, dtype=flat.dtype)
    covariance_gap = torch.linalg.eigvalsh(covariance).abs().amax(-1)  # M2, the spectral norm
    excess = ((1 + covariance_gap).sqrt() - 1 - math.sqrt(k / m)).clamp(min=0)
    return (-m * mean_gap / (2 * k)).clamp(max=-math.log(2)) + (-m * excess.square() / 2).clamp(max=-math.log(2))
