"""LAION's aesthetic predictor: a linear head on the image embedding of CLIP ViT-L/14.

Source: https://github.com/christophschuhmann/improved-aesthetic-predictor (simple_inference.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from gradproj.errors import all_of
from gradproj.pretrained.clip_tower import Tower, embed_image
from gradproj.pretrained.nodes import FileSource, RewardDtype, Sha256, Text, TowerMemory
from gradproj.pretrained.preprocess import centre_torchvision, fit, fit_pictures, pair_up
from gradproj.pretrained.score_head import ScoreHead
from gradproj.pretrained.weights_file import fill, one_file, read
from gradproj.types import Image, Score, default_device

TEXT_HALF = ("text_model.", "text_projection.", "logit_scale")


@dataclass(frozen=True)
class AestheticSource(FileSource):
    """``repo`` is a CLIP in transformers' layout, whose model.safetensors has ``sha256``.

    ``predictor``: the head, a URL or a local file, with ``predictor_sha256`` (None, of a local file: not compared).
    """

    predictor: Text
    predictor_sha256: Sha256 | None


class Aesthetic:
    """Unit: mean human rating, about 1 to 10. Reads no prompt. ``UserError`` for weights that do not fit."""

    def __init__(self, dtype: RewardDtype, source: AestheticSource, memory: TowerMemory) -> None:
        self.device = default_device()
        self.tower, (self.predictor, found) = all_of(
            lambda: Tower(CLIPVisionModelWithProjection, source, dtype, memory, self.device, TEXT_HALF),
            lambda: one_file(source.predictor, source.predictor_sha256),
        )
        self.weights = {**self.tower.weights, f"predictor {self.predictor.name}": found}
        self.size = self.tower.size

    @cached_property
    def network(self) -> nn.ModuleDict:
        """``tower`` and ``head``."""
        width, path = self.tower.config.projection_dim, self.predictor
        head = fill(lambda: ScoreHead(width), read(path), path).to(device=self.device, dtype=self.tower.form)
        return nn.ModuleDict({"tower": self.tower.network, "head": head}).eval()

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def __call__(self, image: Image, text: None) -> Score:
        return self._rate(fit(image, self.size, centre_torchvision))

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        return self._rate(
            fit_pictures(pictures, self.size, centre_torchvision, convert_first=False).to(self.device)
        ).cpu()

    def _rate(self, pixels: Tensor) -> Tensor:
        head = self.network["head"]
        embedding = embed_image(self.network["tower"], pixels)
        return head(embedding.to(next(head.parameters()).dtype)).to(pixels.dtype)
