"""Our model classes on networks that are built from configurations with random weights, so that no file is needed."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
import yaml
from torch import Tensor, nn

from gradproj.execution.settings.parts import make
from gradproj.pretrained import one_step
from gradproj.pretrained.component import Component
from gradproj.pretrained.network import CPU, freeze
from gradproj.pretrained.source import Source

SIZES = Path(__file__).parent / "sizes"
CONFIGS = Path(__file__).parents[2] / "configs" / "model"


@dataclass(frozen=True)
class Size:
    """One file of sizes/: a model's published configurations (``parts``), and the addresses of these (``sources``).

    ``model`` names the YAML whose values our class gets, and ``settings`` has those that differ. ``condition`` has the
    shape of each tensor that ``encode`` returns, without the batch axis. ``published`` has the parameter counts in
    print. ``tiny`` is the small decoder of ``decoder=tiny``, where one is published.
    """

    name: str
    sources: Sequence[str]
    model: str
    settings: Mapping[str, Any]
    pipeline: str
    published: Mapping[str, tuple[float, str]]
    condition: Mapping[str, Sequence[int]]
    parts: Mapping[str, Mapping[str, Any]]
    tiny: Mapping[str, Any] | None = None

    @classmethod
    def load(cls, path: Path) -> "Size":
        """The size of one JSON file, whose stem is its name."""
        return cls(path.stem, **json.loads(path.read_text(encoding="utf-8")))


def sizes() -> list[Size]:
    """All sizes, by name."""
    return [Size.load(path) for path in sorted(SIZES.glob("*.json"))]


@dataclass(frozen=True)
class RandomSource(Source):
    """A source of the same pipeline object, made of ``configurations`` and random weights instead of files.

    ``whole`` gets the number of parameters of each network before our class drops the half that it does not use.
    """

    configurations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)

    def config(self, part: str) -> dict[str, Any]:
        return dict(self.configurations[part])

    def scheduler(self) -> Any:
        config = self.config("scheduler")
        return getattr(diffusers, config["_class_name"]).from_config(config)

    def with_weights(self) -> "RandomSource":
        return self

    def fetch(self) -> None:
        pass

    def load(self, parts: Sequence[str], dtype: torch.dtype, device: torch.device, **ready: Any) -> Any:
        made = {part: self._make(part, dtype, device) for part in parts} | ready
        known = inspect.signature(self.kind.__init__).parameters
        needed = [name for name, parameter in known.items() if parameter.default is parameter.empty and name != "self"]
        absent = dict.fromkeys(needed)
        flags = {name: False for name in ("requires_safety_checker",) if name in known}
        return self.kind(**absent | flags | made)

    def _make(self, part: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
        network = random_network(self.config(part), dtype, device)
        self.whole[part] = parameters(network)
        freeze(network, device)
        return network


@dataclass(frozen=True)
class RandomDecoder(Component):
    """The small decoder, made of its ``configuration`` and random weights on ``device`` instead of files."""

    configuration: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = CPU

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.configuration)

    def load(self, dtype: torch.dtype) -> nn.Module:
        return random_network(self.config, dtype, self.device)


def random_network(config: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The diffusers network of ``config``, its weights drawn."""
    with device, _default(dtype):
        return getattr(diffusers, config["_class_name"]).from_config(dict(config))


def model(size: Size, device: torch.device, **changes: Any) -> Any:
    """Our class with its YAML's values, the settings of ``size`` and ``changes``, on ``device``, which may be meta."""
    node = yaml.safe_load((CONFIGS / f"{size.model}.yaml").read_text(encoding="utf-8"))["model"]
    changes = dict(size.settings) | changes
    node["source"]["cache"] = "unused"
    for inner in (node["source"], node["memory"]):
        inner |= {key: changes.pop(key) for key in [*changes] if key in inner}

    def find(repo: str, revision: str, variant: str | None, pipeline: type[Any], parts: Sequence[str]) -> RandomSource:
        return RandomSource(Path(repo), repo, None, variant, pipeline, parts, configurations=size.parts)

    def find_decoder(source: Any) -> RandomDecoder:
        assert size.tiny, f"{size.name} has no small decoder"
        where = (Path(source.tiny_repo), diffusers.AutoencoderTiny, {}, None, "model.source.tiny_repo")
        return RandomDecoder(*where, configuration=size.tiny, device=device)

    with (
        patch.object(one_step, "fetch", find),
        patch.object(one_step.tiny_decoder, "find", find_decoder),
        patch.object(one_step, "default_device", lambda: device),
    ):
        return make(node | changes, "model")


def condition(size: Size, made: Any, batch: int = 1) -> dict[str, Tensor]:
    """Random numbers in place of the prompts' embeddings, with masks that hide nothing."""
    return {
        name: torch.ones(batch, *shape, dtype=torch.long, device=made.device)
        if name.endswith("mask")
        else torch.randn(batch, *shape, dtype=made.dtype, device=made.device)
        for name, shape in size.condition.items()
    }


def parameters(network: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(weight.numel() for weight in network.parameters())


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
