"""``<run>/diversity.csv``: the measures of a run's start and kept pictures. Imports no torch.

A line ``# <JSON>`` says of which run and images, by which feature network, weights, seed and libraries; then a row per
set (start: without optimisation, kept), closed by a line ``# sha256 <hex>`` over the rest. Written whole or not at all;
a file with other numbers in it is moved to ``diversity.csv.<8 hex>`` first.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.record import labelled, unlabelled

NAME = "diversity.csv"
SETS = ("start", "kept")
IDENTITY = ("run", "images", "features", "weights", "seed")  # what the numbers depend on; libraries are noted beside


@dataclass(frozen=True)
class Measures:
    """What is told of one set of pictures. Scores are 1 or more, ``sd`` 0 or more; NaN where 10 splits are too many."""

    n: int
    prompts: int
    inception_score_1: float
    inception_score_10: float
    inception_score_10_sd: float
    vendi: float
    vendi_per_prompt: float


_COLUMNS = [field.name for field in fields(Measures)]
_HEADER = ",".join(["set", *_COLUMNS])


@dataclass(frozen=True)
class Diversity:
    """``about``: IDENTITY and ``libraries``; ``sets``: set -> its measures."""

    about: Mapping[str, Any]
    sets: Mapping[str, Measures]


def images(run: Run) -> tuple[list[ImageId], str]:
    """The recorded images in the order of their names, and a sha256 that is another one for other images or records."""
    digest, found = hashlib.sha256(), []
    for image, csv in run.records().items():
        found.append(image)
        digest.update(f"{image} {hashlib.sha256(csv).hexdigest()}\n".encode())
    return found, digest.hexdigest()


def read(run: Run) -> Diversity | None:
    """What ``<run>/diversity.csv`` says, None where there is none; ``UserError`` for a cut, edited or foreign one."""
    path = run.folder / NAME
    if not path.exists():
        return None
    opened = unlabelled(path.read_bytes())
    if opened is None:
        raise UserError(f"{path} is cut or edited: {again(run)}")
    try:
        about = opened[0]
        header, *rows = opened[1].decode().splitlines()
        cells = [row.split(",") for row in rows]
        sets = {name: _measures(values) for name, *values in cells}
        own = header == _HEADER and about.keys() >= set(IDENTITY) and about["run"] == run.folder.name
        own &= tuple(sets) == SETS
    except (ValueError, TypeError, AttributeError):
        own, about, sets = False, {}, {}
    if not own:
        raise UserError(f"{path} is foreign: it does not hold the measures of {run.folder.name}; {again(run)}")
    return Diversity(about, sets)


def write(run: Run, diversity: Diversity) -> Path:
    """Place the file; what another one said stays beside it, under its own hash."""
    rows = [",".join([name, *_cells(diversity.sets[name])]) for name in SETS]
    path = run.folder / NAME
    if path.exists():
        content = path.read_bytes()
        place(path.with_name(f"{NAME}.{hashlib.sha256(content).hexdigest()[:8]}"), content)
    place(path, labelled(diversity.about, "\n".join([_HEADER, *rows]) + "\n"))
    return path


def again(run: Run) -> str:
    """What to type for a file that is right; what was there stays beside it."""
    return f"make it anew: gradproj diversity {run.folder}"


def _cells(measures: Measures) -> list[str]:
    """Integers as they are, ten significant digits of the rest, nothing for NaN."""
    values = [getattr(measures, name) for name in _COLUMNS]
    return [str(v) if isinstance(v, int) else "" if math.isnan(v) else f"{v:.10g}" for v in values]


def _measures(cells: list[str]) -> Measures:
    n, prompts, *scores = cells
    return Measures(int(n), int(prompts), *(float(cell) if cell else math.nan for cell in scores))
