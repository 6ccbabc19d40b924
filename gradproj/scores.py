"""Scores given to a finished run's pictures afterwards: ``<run>/scores/<reward>.csv``. Imports no torch.

A line ``# <JSON>`` says which checkpoint and settings gave them, then a row per image (start and kept picture), closed
by a line ``# sha256 <hex>`` over the rest. The table takes them in beside the scores that the records hold.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.records import Run

HEADER = "image,start,kept"
_SEAL = "# sha256 "


@dataclass(frozen=True)
class Scores:
    """``checkpoint``: {"weights": ..., "settings": ...} as a run's own config names them; image -> (start, kept)."""

    checkpoint: Mapping[str, Any]
    values: Mapping[str, tuple[float, float]]


def read(run: Run) -> dict[str, Scores]:
    """Reward -> scores of every file in ``<run>/scores``; ``UserError`` for a cut or edited one."""
    return {path.stem: _parse(path) for path in sorted((run.folder / "scores").glob("[!.]*.csv"))}


def add(run: Run, reward: str, scores: Scores) -> Path:
    """Add the images of ``scores`` to ``<run>/scores/<reward>.csv``; never changes a row that is there.

    ``UserError`` where another checkpoint gave the rows that are there, or the records have this reward themselves.
    """
    path = run.folder / "scores" / f"{reward}.csv"
    if reward in run.config["rewards"]:
        raise UserError(f"{run.folder} has {reward} in its records: there is nothing to score again")
    values = dict(scores.values)
    if path.exists():
        before = _parse(path)
        if before.checkpoint != scores.checkpoint:
            raise UserError(
                f"{path} was given by another checkpoint or other settings (its first line says which): "
                "move it away, then score again"
            )
        values |= before.values
    rows = [f"{name},{start:.6g},{kept:.6g}" for name, (start, kept) in sorted(values.items())]
    text = "\n".join([f"# {json.dumps(scores.checkpoint, sort_keys=True)}", HEADER, *rows]) + "\n"
    path.parent.mkdir(exist_ok=True)
    place(path, f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n".encode())
    return path


def _parse(path: Path) -> Scores:
    content = path.read_text(encoding="utf-8", errors="replace")
    text, mark, seal = content.rpartition(_SEAL)
    if not mark or seal.strip() != hashlib.sha256(text.encode()).hexdigest():
        raise UserError(f"{path} is cut or edited; remove it and score again (scripts/rescore.py)")
    first, header, *rows = text.splitlines()
    if header != HEADER:
        raise UserError(f"{path} is foreign: expected the columns {HEADER}, found {header}; move it away")
    cells = [row.split(",") for row in rows]
    return Scores(json.loads(first.removeprefix("# ")), {name: (float(a), float(b)) for name, a, b in cells})
