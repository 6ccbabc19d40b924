"""Scores given to a finished run's pictures afterwards: ``<run>/scores/<reward>.csv``. Imports no torch.

A line ``# <JSON>`` says for which run and reward and which checkpoint and settings gave them, then a row per image
(start and kept picture), closed by a line ``# sha256 <hex>`` over the rest. The table takes them in beside the scores
that the records hold.
"""

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradproj.errors import UserError
from gradproj.files import is_sealed, place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.record import labelled, unlabelled

HEADER = "image,start,kept"


@dataclass(frozen=True)
class Scores:
    """``checkpoint``: {"weights": ..., "settings": ...} as a run's own config names them; image -> (start, kept)."""

    checkpoint: Mapping[str, Any]
    values: Mapping[ImageId, tuple[float, float]]


def read(run: Run) -> dict[str, Scores]:
    """Reward -> scores of every file in ``<run>/scores``; ``UserError`` for a cut, edited or foreign one."""
    found = {path.stem: _parse(run, path) for path in sorted((run.folder / "scores").glob("[!.]*.csv"))}
    for reward in found:
        _refuse_recorded(run, reward)
    return found


def unscored(run: Run, rewards: Iterable[str], images: Collection[ImageId]) -> dict[str, int]:
    """Reward -> how many of ``images`` it has not scored as yet, of those that lack some; ``UserError`` as ``read``."""
    there = read(run)
    lacking = {name: len(set(images) - (there[name].values.keys() if name in there else set())) for name in rewards}
    return {name: count for name, count in lacking.items() if count}


def set_damaged_aside(run: Run) -> list[Path]:
    """Move files whose seal is not right to ``.csv.damaged``; the pictures give the scores again."""
    moved = []
    for path in (run.folder / "scores").glob("[!.]*.csv"):
        if not is_sealed(path):
            aside = path.with_suffix(".csv.damaged")
            moved.append(
                path.replace(aside if not aside.exists() else path.with_suffix(f".csv.{time.time_ns()}.damaged"))
            )
    return moved


def given(run: Run, reward: str, checkpoint: Mapping[str, Any]) -> dict[ImageId, tuple[float, float]]:
    """Image -> (start, kept) of the rows that ``<run>/scores/<reward>.csv`` has by now.

    ``UserError`` where another checkpoint gave them, or the records have this reward themselves.
    """
    _refuse_recorded(run, reward)
    path = run.folder / "scores" / f"{reward}.csv"
    if not path.exists():
        return {}
    before = _parse(run, path)
    if before.checkpoint != _as_read(checkpoint):
        raise UserError(
            f"{path} was given by another checkpoint or other settings (its first line says which): "
            "move it away, then score again"
        )
    return dict(before.values)


def add(run: Run, reward: str, scores: Scores) -> Path:
    """Add the images of ``scores`` to ``<run>/scores/<reward>.csv``; never changes a row that is there.

    ``UserError`` as ``given``, and for a score that is no finite number. Several processes may add at a time.
    """
    path = run.folder / "scores" / f"{reward}.csv"
    for image, pair in scores.values.items():
        if not all(map(math.isfinite, pair)):
            raise UserError(
                f"{reward} gives image {image} of {run.folder} {pair} for start and kept: not a finite number"
            )
    path.parent.mkdir(exist_ok=True)
    with FileLock(path.parent / ".lock"):  # shards may score one run side by side; a kill sets the lock free
        values = dict(scores.values) | given(run, reward, scores.checkpoint)
        about = {"run": run.folder.name, "reward": reward, **_as_read(scores.checkpoint)}
        rows = [
            f"{image},{start:.6g},{kept:.6g}"
            for image, (start, kept) in sorted(values.items(), key=lambda item: str(item[0]))
        ]
        place(path, labelled(about, "\n".join([HEADER, *rows]) + "\n"))
    return path


def _refuse_recorded(run: Run, reward: str) -> None:
    if reward in run.config["rewards"]:
        there = run.folder / "scores" / f"{reward}.csv"
        advice = f"remove {there}" if there.exists() else "there is nothing to score again"
        raise UserError(f"{run.folder} has {reward} in its records: {advice}")


def _as_read(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from the file."""
    return json.loads(json.dumps(dict(checkpoint)))


def _parse(run: Run, path: Path) -> Scores:
    opened = unlabelled(path.read_bytes())
    if opened is None:
        raise UserError(f"{path} is cut or edited: remove it, then score again (gradproj score)")
    try:
        about = opened[0]
        header, *rows = opened[1].decode().splitlines()
        cells = [row.split(",") for row in rows]
        values = {ImageId.parse(image): (float(start), float(kept)) for image, start, kept in cells}
        own = header == HEADER and (about.pop("run"), about.pop("reward")) == (run.folder.name, path.stem)
    except (ValueError, KeyError, TypeError, AttributeError):
        own, about, values = False, {}, {}
    if not own:
        raise UserError(
            f"{path} is foreign: it does not hold {path.stem} of {run.folder.name}; "
            "move it away, then score again (gradproj score)"
        )
    return Scores(about, values)
