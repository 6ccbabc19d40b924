"""Randomness that depends on names, never on order: (use, prompt id, seed) -> CPU generator -> noise."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(use: str, prompt_id: int, seed: int) -> torch.Generator:
    """A CPU generator seeded by the 63 leading bits of sha256("use/prompt id/seed")."""
    digest = hashlib.sha256(f"{use}/{prompt_id}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initial_latent(shape: Sequence[int], images: Sequence[tuple[int, int]]) -> Tensor:
    """Standard normal float32 latents (b, *shape) on the CPU, one per (prompt id, seed), whatever stands beside it."""
    return torch.stack([torch.randn(tuple(shape), generator=generator("latent", *image)) for image in images])
