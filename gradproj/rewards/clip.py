"""CLIP ViT-H/14 of LAION: how well a prompt describes a picture; one part of ReNO's mix of rewards.

Source: https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K (transformers' CLIPModel and CLIPProcessor).
"""

from collections.abc import Sequence

import torch
from PIL.Image import Image as Picture
from torch import Tensor
from transformers import CLIPModel

from gradproj.errors import all_of
from gradproj.pretrained.clip_tower import Embedding, Prompts, Tower, cosine, embed_image
from gradproj.pretrained.nodes import FileSource, RewardDtype, TowerMemory
from gradproj.pretrained.preprocess import centre_transformers, fit, fit_pictures, pair_up
from gradproj.pretrained.published_clip import logits
from gradproj.pretrained.weights_file import locate
from gradproj.types import Image, Score, default_device


class Clip:
    """Unit: logit, that is the cosine of image and text embedding times the learnt scale (about 100).

    ``source``: weights and tokenizer; ``sha256`` is of model.safetensors. ``UserError`` for what does not fit.
    """

    def __init__(self, dtype: RewardDtype, source: FileSource, memory: TowerMemory) -> None:
        self.device = default_device()
        self.tower, words = all_of(
            lambda: Tower(CLIPModel, source, dtype, memory, self.device),
            lambda: locate(source.repo, source.revision, {}, {"tokenizer.json": None}),
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
        found, _ = logits(self.tower, self.prompts, pictures, prompts)
        return found

    def __call__(self, image: Image, text: Embedding) -> Score:
        return self._logit(fit(image, self.size, centre_transformers), text)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        pixels = fit_pictures(pictures, self.size, centre_transformers).to(self.device)
        return self._logit(pixels, self.encode(prompts)).cpu()

    def _logit(self, pixels: Tensor, text: Tensor) -> Tensor:
        scale = self.network.logit_scale.exp().to(pixels.dtype)
        return scale * cosine(embed_image(self.network, pixels), text)
