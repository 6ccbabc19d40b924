"""What the tests of the paper's rewards share: small weights in the published files' form."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import CONFIGS
from tiny import layouts
from tiny import rewards as tiny
from torch import Tensor

from gradproj.execution.settings.parts import make

NAMES = list(tiny.BUILDERS)
PROMPTED = [name for name in NAMES if name != "aesthetic"]
PAPER = ["aesthetic", "pickscore", "hpsv2", "imagereward"]
REFERENCE = json.loads((Path(__file__).parent / "data" / "official_scores.json").read_text())
# Largest |__call__ - score| over the scores' standard deviation, on pictures that are mostly noise: what the 8-bit
# rounding in the published resizing does. hpsv2 resizes in floating point itself.
GAP = {"aesthetic": 0.03, "pickscore": 0.05, "hpsv2": 1e-5, "imagereward": 0.06, "clip": 0.05}
WEIGHTS = {"aesthetic": "model.safetensors", "pickscore": "model.safetensors", "clip": "model.safetensors"}
WEIGHTS |= {"hpsv2": "HPS_v2.1_compressed.pt", "imagereward": "ImageReward.pt"}
SIZES = [(32, 32), (48, 64), (50, 33), (20, 30)]


def build(name: str, keys: dict[str, Any]) -> Any:
    settings = yaml.safe_load((CONFIGS / "rewards" / f"{name}.yaml").read_text())
    return make(tiny.changed(settings, keys), f"rewards.{name}")


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Callable[[str], Any]:
    """``official("clip")``: the reward with the weights that the published code was given, once."""

    @cache
    def one(name: str) -> Any:
        return build(name, tiny.BUILDERS[name](tmp_path_factory.mktemp(name), layouts.TINY[name]))

    return one


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """``keys("clip")``: what makes the reward read small weights that look at 32 x 32 pixels; the files are shared."""
    return cache(lambda name: tiny.BUILDERS[name](tmp_path_factory.mktemp(name), layouts.small()[name]))


@pytest.fixture
def own(keys, tmp_path) -> Callable[[str], dict[str, Any]]:
    """The same, with files of this test's own."""

    def one(name: str) -> dict[str, Any]:
        shared = keys(name)["repo"]
        shutil.copytree(shared, tmp_path / name)
        return {key: value and value.replace(shared, str(tmp_path / name)) for key, value in keys(name).items()}

    return one


def images(height: int, width: int, count: int = 3) -> Tensor:
    """Away from 0 and 1, (count, 3, height, width) float32."""
    generator = torch.Generator().manual_seed(height * width)
    smooth = torch.nn.functional.interpolate(
        torch.rand(count, 3, 4, 4, generator=generator), (height, width), mode="bilinear"
    )
    return 0.1 + 0.6 * smooth + 0.2 * torch.rand(count, 3, height, width, generator=generator)


def gradient(reward: Any, image: Tensor, text: Any) -> tuple[Tensor, Tensor]:
    leaf = image.detach().requires_grad_()
    value = reward(leaf, text)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def count(modules: list[Any]) -> list[int]:
    """A list whose sum is how often the modules have run since."""
    runs: list[int] = []
    for module in modules:
        module.register_forward_pre_hook(lambda *_: runs.append(1))
    return runs
