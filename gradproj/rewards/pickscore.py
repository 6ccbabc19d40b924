"""PickScore: a CLIP ViT-H/14 tuned to which of two pictures people picked for a prompt.

Source: https://huggingface.co/yuvalkirstain/PickScore_v1 (model card), arXiv 2305.01569.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Image as Picture
from transformers import CLIPModel

from gradproj.errors import all_of
from gradproj.pretrained.clip_tower import Embedding, Prompts, Tower, cosine, embed_image
from gradproj.pretrained.nodes import FileSource, RewardDtype, Text, TowerMemory
from gradproj.pretrained.preprocess import centre_transformers, fit, fit_pictures, pair_up
from gradproj.pretrained.published_clip import logits
from gradproj.pretrained.weights_file import locate
from gradproj.types import Image, Score, default_device


@dataclass(frozen=True)
class PickScoreSource(FileSource):
    """``sha256`` is of model.safetensors; ``tokenizer``: where tokenizer.json is, at ``tokenizer_revision``."""

    tokenizer: Text
    tokenizer_revision: Text


class PickScore:
    """Unit: cosine of image and text embedding, about 0.16 to 0.26; the model card's number is 100 times it.

    ``UserError`` for weights that do not fit.
    """

    def __init__(self, dtype: RewardDtype, source: PickScoreSource, memory: TowerMemory) -> None:
        self.device = default_device()
        self.tower, words = all_of(
            lambda: Tower(CLIPModel, source, dtype, memory, self.device),
            lambda: locate(source.tokenizer, source.tokenizer_revision, {}, {"tokenizer.json": None}),
        )
        self.prompts = Prompts(self.tower, words)
        self.weights = {**self.tower.weights, **self.prompts.weights}
        self.size = self.tower.size

    @property
    def network(self) -> CLIPModel:
        return self.tower.network

    def encode(self, prompts: Sequence[str]) -> Embedding:
        return self.prompts.embed(prompts)

    def published(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        """The same as ``score`` by transformers' own CLIP, for a comparison; loads it and lets go of it."""
        found, scale = logits(self.tower, self.prompts, pictures, prompts)
        return found / scale

    def __call__(self, image: Image, text: Embedding) -> Score:
        embedding = embed_image(self.network, fit(image, self.size, centre_transformers))
        return cosine(embedding, text)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        pixels = fit_pictures(pictures, self.size, centre_transformers).to(self.device)
        return cosine(embed_image(self.network, pixels), self.encode(prompts)).cpu()
