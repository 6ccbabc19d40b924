"""The miniature's aesthetic reward: a network that learnt colourfulness and contrast from renderings."""

from collections.abc import Sequence
from functools import cached_property

import torch
from PIL.Image import Image as Picture

from gradproj.miniature.networks import Regressor
from gradproj.miniature.pixels import read, shrink
from gradproj.miniature.weights import load_network, name_weights
from gradproj.types import Image, Score, default_device


class ShapesAesthetic:
    """Unit: colourfulness / 25 + 10 x contrast (miniature.measures): renderings 5.9, sd 1.6. Reads no prompt."""

    def __init__(self) -> None:
        self.device = default_device()
        self.weights = name_weights("aesthetic")

    @cached_property
    def network(self) -> Regressor:
        return load_network(Regressor, "aesthetic", self.device)

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def __call__(self, image: Image, text: None) -> Score:
        return self.network(shrink(image))

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        return self.network(read(pictures).to(self.device)).cpu()
