"""CLIP towers in transformers' layout (config.json, model.safetensors, tokenizer.json), frozen, loaded once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, PreTrainedModel

from gradproj.errors import UserError
from gradproj.pretrained.nodes import FileSource, TowerMemory
from gradproj.pretrained.preprocess import Pixels
from gradproj.pretrained.recompute import recompute
from gradproj.pretrained.weights_file import fill, locate, parse_form, read
from gradproj.types import Score, default_device

Tower = TypeVar("Tower", bound=PreTrainedModel)
Embedding = Float[Tensor, "b d"]
LENGTH = 77  # tokens of a prompt, start and end included; a longer prompt is cut
OLD_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")

_towers: WeakValueDictionary[tuple[Any, ...], PreTrainedModel] = WeakValueDictionary()


def load_tower(
    kind: type[Tower],
    source: FileSource,
    dtype: str,
    memory: TowerMemory,
    unused: Sequence[str] = (),
) -> tuple[Tower, dict[str, str]]:
    """``kind`` (CLIPModel or one half of it) from ``source``, frozen, in eval mode, on the default device; its weights.

    Two rewards that ask for the same weights in the same form get the same network. ``source.sha256`` is of
    model.safetensors. The keys of the half that is left out begin with one of ``unused``. ``UserError`` for what cannot
    be read or does not fit.
    """
    form = parse_form(dtype, memory.checkpointing)
    files = {"config.json": None, "model.safetensors": source.sha256}
    folder, weights = locate(source.repo, source.revision, files)
    key = (kind, *weights.items(), dtype, memory)
    tower = _towers.get(key)
    if not isinstance(tower, kind):
        try:
            config = CLIPConfig.from_pretrained(folder)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{folder}/config.json does not describe a CLIP: {error}") from error
        part = config if kind is CLIPModel else config.vision_config
        path = folder / "model.safetensors"
        build: Any = kind
        tower = fill(lambda: build(part), read(path), path, (*OLD_BUFFERS, *unused))
        blocks = [block for name, block in tower.named_modules() if name.endswith("vision_model.encoder.layers")]
        apply_checkpointing(memory.checkpointing, [block for layers in blocks for block in layers.children()])
        scale = getattr(tower, "logit_scale", None)
        tower = tower.to(device=default_device(), dtype=form)
        if scale is not None:  # a unit, not a weight: bfloat16 would make 100 into 98.9
            tower.logit_scale.data = scale.data.to(device=default_device(), dtype=torch.float32)
        _towers[key] = tower
    return tower, weights


def apply_checkpointing(policy: str, blocks: Sequence[nn.Module]) -> None:
    """``blocks``: run each of them again in the backward pass instead of keeping its activations; ``none``: keep them.

    transformers' own switch does nothing in eval mode, which a frozen network is in.
    """
    for block in blocks:
        recompute(block, "full" if policy == "blocks" else "none")


def embed_image(tower: Any, pixels: Pixels) -> Embedding:
    """Unit vectors of normalised pixels (b, 3, size, size), in the pixels' dtype; differentiable."""
    hidden = tower.vision_model(pixel_values=pixels.to(tower.visual_projection.weight.dtype)).pooler_output
    return F.normalize(tower.visual_projection(hidden).to(pixels.dtype), dim=-1)


def cosine(image: Embedding, text: Embedding) -> Score:
    """Of unit vectors, a row each, in the image's dtype."""
    return (image * text.to(image.dtype)).sum(dim=1)


def image_size(tower: Any) -> int:
    """Pixels a side of the square input."""
    config = tower.config
    return getattr(config, "vision_config", config).image_size


class Prompts:
    """A CLIP tokenizer and the text half of a tower."""

    def __init__(self, tower: CLIPModel, repo: str, revision: str) -> None:
        folder, weights = locate(repo, revision, {"tokenizer.json": None})
        self.tower, self.tokenizer = tower, load_tokenizer(folder / "tokenizer.json")
        self.weights = {f"tokenizer of {name}": value for name, value in weights.items()}
        self.known: dict[str, Tensor] = {}
        known, words = tower.config.text_config.vocab_size, self.tokenizer.get_vocab_size()  # type: ignore[union-attr]
        if words > known:
            raise UserError(f"the tokenizer of {repo} has {words} tokens, the network {known}: give the one it has")

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(b, 77) int64: start, the prompt, end, and zeros, which the causal attention does not see."""
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))])

    def embed(self, prompts: Sequence[str]) -> Embedding:
        """Unit vectors, float32 (float64 of a float64 tower); each prompt goes through the network once."""
        return remember(self.known, prompts, self._embed)

    @torch.no_grad()
    def _embed(self, prompts: Sequence[str]) -> Embedding:
        hidden = self.tower.text_model(input_ids=self.tokens(prompts).to(self.tower.device)).pooler_output
        embedding = self.tower.text_projection(hidden)
        wide = torch.promote_types(embedding.dtype, torch.float32)
        return F.normalize(embedding.to(wide), dim=-1)


def remember(
    known: dict[str, Tensor], prompts: Sequence[str], embed: Callable[[Sequence[str]], Embedding]
) -> Embedding:
    """A row per prompt: from ``known`` (prompt -> row), to which ``embed`` adds those that are new."""
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    if new:
        known.update(zip(new, embed(new), strict=True))
    return torch.stack([known[prompt] for prompt in prompts])


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, set to cut and pad to LENGTH; ``UserError`` for another kind of file."""
    try:
        content = file.read_text(encoding="utf-8")
        whole = "model" in json.loads(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is cut or no tokenizer ({error}): fetch it again") from error
    if not whole:
        raise UserError(f"{file} is no tokenizer: give the tokenizer.json that the model was trained with")
    tokenizer = Tokenizer.from_str(content)
    if tokenizer.encode("a").ids == tokenizer.encode("b").ids:
        raise UserError(f"{file} does not tell words apart: give the tokenizer.json that the model was trained with")
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=0, pad_token="!")
    return tokenizer
