"""Small models to be timed on a processor: the miniature, and published layouts with random weights."""

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradproj.execution.experiment import Experiment
from gradproj.execution.settings.compose import compose_run
from gradproj.execution.settings.parts import parts
from gradproj.noise import generator, initial_latent
from gradproj.types import Method

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tiny import layouts  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny import rewards as tiny_rewards  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny.flow import flux  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny.turbo import sd_turbo  # noqa: E402  # pyright: ignore[reportMissingImports]

PROMPT = "a red ring"
PAPER = ("aesthetic", "pickscore", "hpsv2", "imagereward")
WIDE: Mapping[str, Mapping[str, Any]] = {
    "sd_turbo": {"width": 16, "text_width": 32, "channels": (16, 32)},
    "flux": {"rope": (8, 12, 12), "heads": 4, "double": 2, "single": 4, "text_width": 64, "channels": (8, 16)},
}
AGAIN = "model.memory.checkpointing=blocks"  # of the generator alone, as in ReNO's published code
BUILDERS = {"sd_turbo": sd_turbo, "flux": flux}


@dataclass(frozen=True)
class Small:
    """What one iteration needs: the parts of a run, and a batch."""

    experiment: Experiment
    latent: Tensor
    condition: Any
    text: Any
    images: Sequence[tuple[int, int]]

    @property
    def rng(self) -> list[torch.Generator]:
        """New at each call, always in the same state."""
        return [generator("method", *image) for image in self.images]


@cache
def overrides(quick: bool) -> Mapping[str, list[str]]:
    """Model -> the overrides that make it small, with its rewards; the files are there until the process ends."""
    home = tempfile.mkdtemp(prefix="bench-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    judges = [key for name in PAPER for key in _judge(name, Path(home) / name, quick)]
    made: dict[str, list[str]] = {"shapes": []}
    for name, builder in BUILDERS.items():
        folder = builder(Path(home) / f"pipeline-{name}", **({} if quick else WIDE[name]))
        source = {"repo": folder, "cache": f"{home}/prompts"}
        made[name] = [f"model={name}", *(f"model.source.{key}={value}" for key, value in source.items())]
        made[name] += [f"model.resolution={16 if quick else 64}", "model.dtype=float32", *judges]
        made[name] += [f"rewards=[{','.join(PAPER)}]", "reward=pickscore"]
    return made


def _judge(name: str, folder: Path, quick: bool) -> list[str]:
    sizes = layouts.small()[name] if quick else layouts.TINY[name]
    return tiny_rewards.as_overrides(name, tiny_rewards.BUILDERS[name](folder, sizes))


def small(given: Sequence[str], batch: int) -> Small:
    """The parts that these overrides make, on the processor, and ``batch`` latents."""
    settings, _ = compose_run(["device=cpu", *given])
    made: Mapping[str, Any] = parts(settings)
    numbers: Any = {key: settings[key] for key in ("steps", "keep", "score_every", "max_skips")}
    weights = {settings["reward"]: 1.0}
    experiment = Experiment(**made, target=weights, prompts=[PROMPT], **numbers)
    images = [(0, seed) for seed in range(batch)]
    prompts = [PROMPT] * batch
    return Small(
        experiment,
        initial_latent(experiment.model.latent_shape, images),
        experiment.model.encode(prompts),
        {name: experiment.rewards[name].encode(prompts) for name in weights},
        images,
    )


def method(name: str, *given: str) -> Method:
    """One of configs/method as a run on the miniature has it."""
    settings, _ = compose_run([f"method={name}", *given])
    return parts(settings)["method"]
