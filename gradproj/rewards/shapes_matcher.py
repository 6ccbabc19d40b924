"""The miniature's image-text matcher to climb: a contrastive dual encoder, as CLIP is."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.miniature.captions import ReadsCaptions, parse_all
from gradproj.miniature.networks import DualEncoder
from gradproj.miniature.pixels import read, shrink
from gradproj.miniature.weights import load_network, name_weights
from gradproj.types import Image, Score, default_device


class ShapesMatcher(ReadsCaptions):
    """Unit: cosine of image and text embedding, in [-1, 1]."""

    def __init__(self) -> None:
        self.device = default_device()
        self.weights = name_weights("matcher")

    @cached_property
    def network(self) -> DualEncoder:
        return load_network(DualEncoder, "matcher", self.device)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Float[Tensor, "b d"]:
        return self.network.embed_text(torch.tensor(parse_all(prompts), device=self.device))

    def __call__(self, image: Image, text: Float[Tensor, "b d"]) -> Score:
        return (self.network.embed_image(shrink(image)) * text).sum(dim=1)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        return self(read(pictures).to(self.device), self.encode(prompts)).cpu()
