"""Randomness that depends on what it is for, never on the order of the work, so that every image can be made alone."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(use: str, prompt_id: int, seed: int) -> torch.Generator:
    """A CPU generator whose seed is the first 63 bits of sha256("<use>/<prompt id>/<seed>")."""
    digest = hashlib.sha256(f"{use}/{prompt_id}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initial_latent(shape: Sequence[int], images: Sequence[tuple[int, int]]) -> Tensor:
    """Standard normal float32 latents (b, *shape) on the CPU, one for each (prompt id, seed) of ``images``.

    A latent does not depend on the other images of the batch.
    """
    return torch.stack([torch.randn(tuple(shape), generator=generator("latent", *image)) for image in images])
