"""Runs of random numbers, small enough to damage in every way."""

import errno
import os
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.record import COLUMNS

SCORES = ("aesthetic", "matcher")
PROMPTS = ["a red ring", "a blue square", *(f"prompt {number}" for number in range(2, 10))]
STEPS = 4
# fmt: off
ODD_STRINGS = (
    "on", "1e-3", "null", "~", "a: b", "# no", " led", "trail ", "tab\t", "q\"'", "\u2028", "é", "🟥", "",
    "2020-01-01", "0x10", "1_000", "[x", "{", "%", "two\nlines", "\x7f", "\ufeff", "long " * 60,
)
# fmt: on


def config(**changes: Any) -> dict[str, Any]:
    return {
        "names": {"model": "m", "method": "n", "reward": "aesthetic"},
        "steps": STEPS,
        "keep": "last",
        "method": {"clip": 0.03, "optimizer": {"lr": 0.02, "betas": [0.9, 0.999]}, "project": True, "none": None},
        "rewards": {score: {"size": 32} for score in SCORES},
        "prompts": PROMPTS,
    } | changes


def rows(seed: int, steps: int = STEPS) -> list[dict[str, float | None]]:
    """Numbers of every size and sign; scores only at the ends; no gradient norm at the last step."""
    rng = random.Random(seed)
    made: list[dict[str, float | None]] = []
    for step in range(steps + 1):
        row: dict[str, float | None] = {name: rng.gauss(0, 1) * 10 ** rng.randint(-12, 12) for name in COLUMNS}
        row |= {"step": step, "skipped": float(step == 1), **{score: rng.random() for score in SCORES}}
        if step == steps:
            row["gradient_norm"] = float("nan")
        elif step:
            row |= dict.fromkeys(SCORES)
        made.append(row)
    return made


def make(folder: Path, images: int = 3, **changes: Any) -> Run:
    run = Run.create(folder, config(**changes), {"written": "first"})
    for image in range(images):
        run.write(ImageId(image, 0), rows(image, run.config["steps"]), {})
    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder``, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, dict | list):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(item, (*path, key))
    else:
        yield path, node


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = deepcopy(node)
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copy


def refuse_writes(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Let ``after`` files reach the disk, then say that it is full."""
    real, calls = os.fsync, iter(range(10**6))

    def fsync(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
