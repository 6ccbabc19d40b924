"""CLIP towers in transformers' layout (config.json, model.safetensors, tokenizer.json), frozen, loaded at first use."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, PreTrainedModel

from gradproj.errors import UserError
from gradproj.pretrained.nodes import FileSource, RewardDtype, TowerMemory
from gradproj.pretrained.preprocess import Pixels
from gradproj.pretrained.recompute import recompute
from gradproj.pretrained.release import release
from gradproj.pretrained.weights_file import Files, fill, locate, read
from gradproj.types import Score

Network = TypeVar("Network", bound=PreTrainedModel)
Embedding = Float[Tensor, "b d"]
TEXT, PICTURE = ("text_model", "text_projection"), ("vision_model", "visual_projection")  # the halves of a CLIPModel
LENGTH = 77  # tokens of a prompt, start and end included; a longer prompt is cut
OLD_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")

_towers: WeakValueDictionary[tuple[Any, ...], PreTrainedModel] = WeakValueDictionary()


class Tower(Generic[Network]):
    """``kind`` (CLIPModel or its picture half) from ``source``, frozen, in eval mode, on ``device``; half by half.

    The picture half comes at its first use and stays; two rewards that ask for the same weights in the same form get
    the same one. The text half comes when it is asked for and is nobody else's. ``source.sha256`` is of
    model.safetensors. Keys that are left over may begin with one of ``unused``. ``UserError`` for what cannot be read
    or does not fit.
    """

    def __init__(
        self,
        kind: type[Network],
        source: FileSource,
        dtype: RewardDtype,
        memory: TowerMemory,
        device: torch.device,
        unused: Sequence[str] = (),
    ) -> None:
        self.kind, self.dtype, self.memory, self.device = kind, dtype, memory, device
        self.form, self.unused = getattr(torch, dtype), unused
        large = {"model.safetensors": source.sha256}
        self.files = locate(source.repo, source.revision, large, {"config.json": None})
        try:
            self.config = CLIPConfig.from_pretrained(self.files.folder)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.files.folder}/config.json does not describe a CLIP: {error}") from error

    @property
    def weights(self) -> Mapping[str, str]:
        return self.files.weights

    @property
    def size(self) -> int:
        """Pixels a side of the square input."""
        return self.config.vision_config.image_size  # type: ignore[union-attr]

    @cached_property
    def network(self) -> Network:
        """The picture half."""
        key = (self.kind, *self.weights.items(), self.dtype, self.memory, self.device)
        shared = _towers.get(key)
        if not isinstance(shared, self.kind):
            shared = _towers[key] = self._load(without=TEXT)
        return shared

    def text_half(self) -> Network:
        """The text half, new at each call."""
        return self._load(without=PICTURE)

    def _load(self, without: Sequence[str]) -> Network:
        config = self.config if self.kind is CLIPModel else self.config.vision_config
        path, build = self.files.fetch() / "model.safetensors", self.kind
        unused = (*OLD_BUFFERS, *self.unused)
        tower: Any = fill(lambda: build(config), read(path), path, unused, without)  # type: ignore[arg-type]
        blocks = [block for name, block in tower.named_modules() if name.endswith("vision_model.encoder.layers")]
        apply_checkpointing(self.memory.checkpointing, [block for layers in blocks for block in layers.children()])
        scale = getattr(tower, "logit_scale", None)
        tower = tower.to(device=self.device, dtype=self.form)
        if scale is not None:  # a unit, not a weight: bfloat16 would make 100 into 98.9
            tower.logit_scale.data = scale.data.to(device=self.device, dtype=torch.float32)
        return tower


def apply_checkpointing(policy: Literal["none", "blocks"], blocks: Sequence[nn.Module]) -> None:
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


class Prompts:
    """A CLIP tokenizer (tokenizer.json among ``files``) and the text half of a tower, there only for new prompts."""

    def __init__(self, tower: Tower[CLIPModel], files: Files) -> None:
        self.tower, self.file = tower, files.folder / "tokenizer.json"
        self.tokenizer = load_tokenizer(self.file)
        self.weights = {f"tokenizer of {name}": value for name, value in files.weights.items()}
        self.known: dict[str, Tensor] = {}
        known, words = tower.config.text_config.vocab_size, self.tokenizer.get_vocab_size()  # type: ignore[union-attr]
        if words > known:
            raise UserError(
                f"the tokenizer of {files.repo} has {words} tokens, the network {known}: give the one it has"
            )

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(b, 77) int64: start, the prompt, end, and zeros, which the causal attention does not see."""
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))])

    def embed(self, prompts: Sequence[str]) -> Embedding:
        """Unit vectors, float32 (float64 of a float64 tower); each prompt goes through the network once.

        Give all prompts at once: the text half is loaded for those that are new, and leaves after them.
        """
        return remember(self.known, prompts, self._embed)

    @torch.no_grad()
    def _embed(self, prompts: Sequence[str]) -> Embedding:
        network = self.tower.text_half()
        hidden = network.text_model(input_ids=self.tokens(prompts).to(network.device)).pooler_output
        embedding = network.text_projection(hidden)
        wide = torch.promote_types(embedding.dtype, torch.float32)
        return F.normalize(embedding.to(wide), dim=-1)


def remember(
    known: dict[str, Tensor], prompts: Sequence[str], embed: Callable[[Sequence[str]], Embedding]
) -> Embedding:
    """A row per prompt: from ``known`` (prompt -> row), to which ``embed`` adds those that are new.

    The network that ``embed`` loads for it is gone when it returns.
    """
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    if new:
        known.update(zip(new, embed(new), strict=True))
        release()
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
