"""Human Preference Score v2 and v2.1: a CLIP ViT-H/14 tuned on human rankings, in open_clip's layout.

Source: https://github.com/tgxs002/HPSv2 (package hpsv2 1.2.0, img_score.py), arXiv 2306.09341.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.errors import UserError
from gradproj.pretrained.clip_tower import Embedding, apply_checkpointing, cosine, remember
from gradproj.pretrained.nodes import FileSource, RewardDtype, Text, TowerMemory
from gradproj.pretrained.preprocess import fit_inside, pair_up, to_tensor
from gradproj.pretrained.weights_file import fill, locate, read
from gradproj.types import Image, Score, default_device

TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")  # of open_clip's CLIP


@dataclass(frozen=True)
class HPSv2Source(FileSource):
    """``architecture``: an open_clip model's name, or a JSON file of that form; ``weights`` has its hash."""

    architecture: Text


class HPSv2:
    """Unit: cosine of image and text embedding, about 0.2 to 0.35.

    ``file``: the version's file in ``source``. ``UserError`` for weights that do not fit.
    """

    def __init__(self, file: Text, dtype: RewardDtype, source: HPSv2Source, memory: TowerMemory) -> None:
        self.device, self.file, self.memory = default_device(), file, memory
        self.form, self.sizes = getattr(torch, dtype), _architecture(source.architecture)
        self.files = locate(source.repo, source.revision, {file: source.sha256})
        sizes = hashlib.sha256(json.dumps(self.sizes, sort_keys=True).encode()).hexdigest()
        self.weights = {**self.files.weights, "architecture": sizes}
        self.known: dict[str, Tensor] = {}

    @cached_property
    def network(self) -> Any:
        """The half that sees pictures."""
        network = self._load(without=TEXT)
        apply_checkpointing(self.memory.checkpointing, list(network.visual.transformer.resblocks))
        return network

    def text_half(self) -> Any:
        """The half that reads prompts, new at each call: it is there only for new ones."""
        return self._load(without=("visual",))

    def _load(self, without: Sequence[str]) -> Any:
        path = self.files.fetch() / self.file
        network: Any = fill(lambda: open_clip.CLIP(**self.sizes), read(path), path, without=without)
        return network.to(device=self.device, dtype=self.form)

    @cached_property
    def tokenizer(self) -> open_clip.SimpleTokenizer:
        length = self.sizes["text_cfg"].get("context_length", open_clip.CLIPTextCfg.context_length)
        return open_clip.SimpleTokenizer(context_length=length)

    @property
    def size(self) -> int:
        """Pixels a side of the square input."""
        return self.network.visual.image_size[0]

    def encode(self, prompts: Sequence[str]) -> Embedding:
        return remember(self.known, prompts, self._embed_text)

    @torch.no_grad()
    def _embed_text(self, prompts: Sequence[str]) -> Embedding:
        embedding = self.text_half().encode_text(self.tokenizer(list(prompts)).to(self.device))
        return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=-1)

    def __call__(self, image: Image, text: Embedding) -> Score:
        return cosine(self._embed(fit_inside(image, self.size)), text)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        fitted = [fit_inside(to_tensor(picture).to(self.device), self.size) for picture in pictures]
        return cosine(self._embed(torch.cat(fitted)), self.encode(prompts)).cpu()

    def _embed(self, pixels: Tensor) -> Tensor:
        embedding = self.network.encode_image(pixels.to(self.network.visual.conv1.weight.dtype))
        return F.normalize(embedding.to(pixels.dtype), dim=-1)


def _architecture(name: str) -> dict[str, Any]:
    if Path(name).suffix != ".json":
        sizes = open_clip.get_model_config(name)
        if sizes is None:
            raise UserError(f"architecture={name} is unknown to open_clip: type ViT-H-14, or give a JSON file")
        return sizes
    try:
        return json.loads(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"architecture={name} cannot be read: {error}") from error
