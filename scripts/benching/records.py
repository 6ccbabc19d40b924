"""The commands that read 20,000 records of 60 steps: 20 runs (4 methods x 5 targets) of 250 prompts x 4 seeds.

Five scores stand at every 10th step. The numbers of 50 images are repeated, to be ready sooner.
"""

from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

METHODS = ("ours", "mpgr", "prno", "reno")
SCORES = ("aesthetic", "pickscore", "hps", "image_reward", "clip")
SEEDS, STEPS, DRAWN = 4, 60, 50


def make_all(results: Path, prompts: int) -> None:
    """Write the records of all runs, ``prompts`` x SEEDS images each, without waiting for the disk."""
    with mock.patch("os.fsync"):
        for target in SCORES:
            for method in METHODS:
                make(results, method, target, prompts)


def verbs(results: str) -> list[tuple[str, tuple[str, ...]]]:
    """The commands that read them, and their arguments."""
    return [("status", (results,)), ("table", ("--results", results)), ("report", ("--results", results))]


def make(results: Path, method: str, target: str, prompts: int) -> None:
    """Write the records of one run."""
    config = {
        "names": {"model": "bench", "method": method, "reward": target},
        "protocol": "common",
        "steps": STEPS,
        "keep": "last",
        "score_every": 10,
        "model": {"size": 64},
        "method": {"name": method},
        "reward": target,
        "rewards": {name: {"name": name} for name in SCORES},
        "prompts": [f"a picture of thing number {index}, digital art" for index in range(prompts)],
        "weights": {name: {"file": name} for name in ("model", *SCORES)},
    }
    run = Run.create(results, config, {})
    start = np.random.default_rng(0).normal(size=(DRAWN, len(SCORES)))
    generator = np.random.default_rng(1 + METHODS.index(method))
    images = [ImageId(prompt, seed) for prompt in range(prompts) for seed in range(SEEDS)]
    made = [_rows(start[index], generator) for index in range(DRAWN)]
    for index, image in enumerate(images):
        first, *others = made[index % DRAWN]
        run.write(image, [first | {"seconds": index * 1e-9}, *others], {})  # so that no two records are equal


def _rows(start: NDArray[np.float64], generator: np.random.Generator) -> list[dict[str, float]]:
    """The rows of one image, whose scores all climb from ``start`` (scores,)."""
    climb = np.cumsum(generator.uniform(0, 0.1, (STEPS + 1, len(SCORES))), axis=0)
    values = start + climb - climb[0]
    rows = []
    for step in range(STEPS + 1):
        numbers = dict(zip(("gradient_norm", "latent_rms", "cosine"), generator.uniform(size=3), strict=True))
        scores = dict(zip(SCORES, values[step], strict=True)) if step % 10 == 0 else {}
        rows.append({"step": step, "seconds": 1.16 * step, "reward": values[step, 0], "skipped": 0} | numbers | scores)
    return rows
