"""ReNO (Eyring et al. 2024, github.com/ExplainableML/ReNO): keep the latent's norm likely under a Gaussian."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradproj.types import Method, NotNegative, OptimizerMaker, Positive


def method(optimizer: OptimizerMaker, clip: Positive, weight: NotNegative) -> Method:
    """Climb the reward minus ``weight`` times ``penalty``; ``clip`` bounds the norm of the whole gradient."""

    def direction(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
        return reward_gradient - weight * penalty_gradient(latent)

    return Method(optimizer, direction, clip=clip)


def penalty(latent: Float[Tensor, "b *latent"]) -> Float[Tensor, " b"]:
    """||x||^2 / 2 - (d - 1) ln ||x||, the negative log density of a Gaussian's norm up to a constant."""
    norm = latent.flatten(1).norm(dim=1)
    return norm.square() / 2 - (latent[0].numel() - 1) * norm.log()


def penalty_gradient(latent: Float[Tensor, "b *latent"]) -> Float[Tensor, "b *latent"]:
    """x (1 - (d - 1) / ||x||^2), per sample."""
    square = latent.flatten(1).square().sum(dim=1).view(-1, *[1] * (latent.ndim - 1))
    return latent * (1 - (latent[0].numel() - 1) / square)
