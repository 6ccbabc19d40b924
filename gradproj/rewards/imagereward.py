"""ImageReward: BLIP (large) whose text encoder looks at the picture, and a head trained on human rankings.

Source: https://github.com/THUDM/ImageReward (package image-reward 1.5, ImageReward.py), arXiv 2304.05977.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from PIL.Image import Image as Picture
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor

from gradproj.errors import UserError, all_of
from gradproj.pretrained.blip import BlipReward, load_blip
from gradproj.pretrained.clip_tower import apply_checkpointing
from gradproj.pretrained.nodes import FileSource, RewardDtype, Sha256, Text, TowerMemory
from gradproj.pretrained.preprocess import centre_torchvision, fit, fit_pictures, pair_up
from gradproj.pretrained.weights_file import locate
from gradproj.types import Image, Score, default_device

LENGTH = 35  # tokens of a prompt, start and end included; a longer prompt is cut
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the head's output, from the source


@dataclass(frozen=True)
class ImageRewardSource(FileSource):
    """``tokenizer``: where vocab.txt (of ``tokenizer_sha256``, None: not compared) is, at ``tokenizer_revision``."""

    tokenizer: Text
    tokenizer_revision: Text
    tokenizer_sha256: Sha256 | None


class ImageReward:
    """Unit: standard deviations above the mean reward of the authors' validation set, about -2 to 2.

    ``file``: the weights, beside med_config.json in ``source``. ``UserError`` for weights that do not fit.
    """

    def __init__(self, file: Text, dtype: RewardDtype, source: ImageRewardSource, memory: TowerMemory) -> None:
        self.device, self.file, self.memory = default_device(), file, memory
        self.form = getattr(torch, dtype)
        self.files, words = all_of(
            lambda: locate(source.repo, source.revision, {file: source.sha256}, {"med_config.json": None}),
            lambda: locate(source.tokenizer, source.tokenizer_revision, {}, {"vocab.txt": source.tokenizer_sha256}),
        )
        self.words = words.folder / "vocab.txt"
        self.weights = dict(self.files.weights)
        self.weights |= {f"tokenizer of {name}": value for name, value in words.weights.items()}
        self.tokenizer = _tokenizer(self.words)

    @cached_property
    def network(self) -> BlipReward:
        folder = self.files.fetch()
        network = load_blip(folder / self.file, folder / "med_config.json")
        known, found = network.text.config.vocab_size, self.tokenizer.get_vocab_size()
        if found > known:
            raise UserError(f"{self.words} has {found - 2} words and two are added, the network knows {known}")
        apply_checkpointing(self.memory.checkpointing, [*network.vision.encoder.layers, *network.text.encoder.layer])
        return network.to(device=self.device, dtype=self.form)

    @property
    def size(self) -> int:
        """Pixels a side of the square input."""
        return self.network.size

    def encode(self, prompts: Sequence[str]) -> Int[Tensor, "b 2 t"]:
        """Token ids and attention mask: the text encoder itself reads the picture, so it runs in every call."""
        encodings = self.tokenizer.encode_batch(list(prompts))
        return torch.tensor([[encoding.ids, encoding.attention_mask] for encoding in encodings], device=self.device)

    def __call__(self, image: Image, text: Int[Tensor, "b 2 t"]) -> Score:
        return (self.network(fit(image, self.size, centre_torchvision), text) - MEAN) / STD

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        pixels = fit_pictures(pictures, self.size, centre_torchvision, convert_first=False).to(self.device)
        return ((self.network(pixels, self.encode(prompts)) - MEAN) / STD).cpu()


def _tokenizer(vocabulary: Path) -> BertWordPieceTokenizer:
    try:
        tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    except TypeError as error:
        raise UserError(f"{vocabulary} is no BERT vocabulary ({error}): give the published file") from error
    tokenizer.add_special_tokens(["[DEC]", "[ENC]"])
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return tokenizer
