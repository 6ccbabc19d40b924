"""The miniature: coloured shapes at 32 x 32 from one step of a 2.3 M-parameter network."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from gradproj.miniature.captions import ReadsCaptions, parse_all
from gradproj.miniature.generator import Generator
from gradproj.miniature.weights import load_network, name_weights
from gradproj.types import Image, Latent, default_device


class Shapes(ReadsCaptions):
    """``Model`` with a latent in pixel space, N = 3,072; prompts such as "a red ring and a blue square"."""

    latent_shape = (3, 32, 32)

    def __init__(self) -> None:
        self.device = default_device()
        self.weights = name_weights("generator")

    @cached_property
    def network(self) -> Generator:
        return load_network(Generator, "generator", self.device)

    def encode(self, prompts: Sequence[str]) -> Int[Tensor, "b 2"]:
        return torch.tensor(parse_all(prompts), device=self.device)

    def generate(self, latent: Latent, condition: Int[Tensor, "b 2"]) -> Image:
        return (self.network(latent, condition) * 0.5 + 0.5).clamp(0, 1)
