"""A run on a model and rewards of a few lines, so that every recorded number can be worked out beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from gradproj.execution.batches import complete as complete_batches
from gradproj.execution.destination import Records
from gradproj.execution.experiment import Experiment
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.types import Method

PROMPTS = ["one", "two", "bad", "four"]
IMAGES = [ImageId(prompt, 0) for prompt in range(4)]
SHAPE = (3, 6, 5)


class Model:
    """The picture is a squashed latent; the prompt "bad" misbehaves in its calls ``start`` to ``end``."""

    latent_shape: tuple[int, ...] = SHAPE
    weights: Mapping[str, str] = {}

    def __init__(self, trouble: str = "", start: int = 0, end: int = 10**6) -> None:
        self.device = torch.device("cpu")
        self.trouble, self.start, self.end, self.calls = trouble, start, end, 0

    def encode(self, prompts: Sequence[str]) -> Tensor:
        if "unreadable" in prompts:
            raise ValueError("cannot read 'unreadable'")
        return torch.tensor([prompt == "bad" for prompt in prompts])

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        image = latent.sigmoid()
        bad = condition.any() and self.start <= self.calls < self.end
        self.calls += bool(condition.any())
        if bad and self.trouble == "device":
            raise RuntimeError("an illegal\nmemory access, says the device")
        if bad and self.trouble == "picture":
            image = torch.where(condition[:, None, None, None], torch.full_like(image, torch.nan), image)
        if bad and self.trouble == "gradient" and image.requires_grad:
            spoil = torch.where(condition, torch.nan, 1.0)[:, None, None, None]
            image.register_hook(lambda gradient: gradient * spoil)
        return image


class Red:
    """Mean of the red channel."""

    weights: Mapping[str, str] = {}

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return image[:, 0].mean((1, 2))

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        return torch.tensor([np.asarray(picture)[..., 0].mean() / 255 for picture in pictures])


class Target(Red):
    """Minus the squared distance of the mean from a third: overshot by big steps."""

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return -100 * (image.mean((1, 2, 3)) - 1 / 3).square()

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        return torch.tensor([-100 * (np.asarray(picture).mean() / 255 - 1 / 3) ** 2 for picture in pictures])


class Length:
    """Held out, no form to climb: the length of the prompt plus the corner pixel, so that mixed-up rows show."""

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        corners = [np.asarray(picture)[0, 0, 2] / 255 for picture in pictures]
        return torch.tensor([len(prompt) + corner for prompt, corner in zip(prompts, corners, strict=True)])


def sgd(lr: float, momentum: float = 0) -> Method:
    return Method(lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum))


def experiment(**changes: Any) -> Experiment:
    given: dict[str, Any] = {
        "model": Model(),
        "method": sgd(20.0),
        "rewards": {"red": Red(), "target": Target(), "length": Length()},
        "target": {"red": 1.0},
        "prompts": PROMPTS,
        "steps": 7,
        "keep": "last",
        "score_every": 3,
        "max_skips": 2,
    }
    return Experiment(**given | changes)


def new_run(folder: Path, made: Experiment) -> Run:
    config = {
        "names": {"model": "m", "method": "n", "reward": "r"},
        "prompts": list(made.prompts),
        "steps": made.steps,
        "rewards": dict.fromkeys(made.rewards),
        "keep": made.keep,
        "score_every": made.score_every,
    }
    return Run.create(folder, config, {})


def complete(folder: Path, batch: int = 4, seeds: int = 1, **changes: Any) -> tuple[Run, dict[ImageId, list[str]]]:
    """A run of all prompts; it, and the images that failed with their reasons."""
    made = experiment(**changes)
    run = new_run(folder, made)
    images = [ImageId(prompt, seed) for prompt in range(len(made.prompts)) for seed in range(seeds)]
    complete_batches(made, Records(run), images, batch)
    return run, progress.failures(run)


def numbers(run: Run, prompt: int, seed: int = 0) -> Any:
    """The image's record without the seconds."""
    return run.table(ImageId(prompt, seed)).drop(columns="seconds")


def saved(path: Path) -> Any:
    """A picture's levels."""
    with Pillow.open(path) as file:
        return np.asarray(file.convert("RGB")).astype(int)
