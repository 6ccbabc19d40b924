"""LAION's aesthetic predictor: a linear head on the image embedding of CLIP ViT-L/14.

Source: https://github.com/christophschuhmann/improved-aesthetic-predictor (simple_inference.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from gradproj.pretrained.clip_tower import embed_image, image_size, load_tower
from gradproj.pretrained.nodes import FileSource, TowerMemory, as_node
from gradproj.pretrained.preprocess import centre_torchvision, fit, fit_pictures, pair_up
from gradproj.pretrained.score_head import ScoreHead
from gradproj.pretrained.weights_file import fill, one_file, parse_form, read
from gradproj.types import Image, Score, default_device

TEXT_HALF = ("text_model.", "text_projection.", "logit_scale")


@dataclass(frozen=True)
class AestheticSource(FileSource):
    """``repo`` is a CLIP in transformers' layout, whose model.safetensors has ``sha256``.

    ``predictor``: the head, a URL or a local file, with ``predictor_sha256`` (None, of a local file: not compared).
    """

    predictor: str
    predictor_sha256: str | None


class Aesthetic:
    """Unit: mean human rating, about 1 to 10. Reads no prompt. ``UserError`` for weights that do not fit."""

    def __init__(
        self,
        dtype: str,
        source: AestheticSource | Mapping[str, Any],
        memory: TowerMemory | Mapping[str, Any],
    ) -> None:
        where, memory = as_node(AestheticSource, source), as_node(TowerMemory, memory)
        self.device, form = default_device(), parse_form(dtype, memory.checkpointing)
        path, found = one_file(where.predictor, where.predictor_sha256)
        tower, weights = load_tower(CLIPVisionModelWithProjection, where, dtype, memory, TEXT_HALF)
        self.weights = weights | {f"predictor {path.name}": found}
        head = fill(lambda: ScoreHead(tower.config.projection_dim), read(path), path)
        head = head.to(device=self.device, dtype=form)
        self.network = nn.ModuleDict({"tower": tower, "head": head}).eval()
        self.size = image_size(tower)

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
