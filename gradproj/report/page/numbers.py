"""The numbers that the page's script shows.

Names, prompts, scores and gaps of all images are parsed at once; the curves come one run at a time, when they are asked
for, so that a large page still opens quickly.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.compare import Comparison
from gradproj.report.gap import GAP, gap
from gradproj.report.load import Curves
from gradproj.report.page.thumbnails import BLOCK, Thumbnails, pictures
from gradproj.runs.scored_steps import EARLY


def head(title: str, comparisons: Sequence[Comparison], thumbnails: Thumbnails) -> dict[str, Any]:
    """Everything but the curves and the pictures, which stand here by the numbers that ``thumbnails`` gives them."""
    return {
        "title": title,
        "early": EARLY,
        "block": BLOCK,
        "gap": GAP,
        "comparisons": [_comparison(comparison) for comparison in comparisons],
        "runs": [
            _run(index, comparison, label, curves, thumbnails)
            for index, comparison in enumerate(comparisons)
            for label, curves in comparison.methods.items()
        ],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    first = next(iter(comparison.methods.values()))
    return {
        "name": comparison.name,
        "target": comparison.target,
        "scores": comparison.scores,
        "prompts": [str(prompt) for prompt in first.run.config["prompts"]],
    }


def _run(index: int, comparison: Comparison, label: str, curves: Curves, thumbnails: Thumbnails) -> dict[str, Any]:
    found, recorded = pictures(curves.run), curves.run.scan().recorded
    kinds = sorted({kind for image in curves.images for kind in found.get(image, {})})
    return {
        "comparison": index,
        "method": label,
        "id": curves.run.folder.name,
        "steps": curves.run.config["steps"],
        "keep": curves.run.config["keep"],
        "columns": list(curves.official),
        "mix": reward if isinstance(reward := curves.run.config["reward"], dict) else None,
        "names": [str(image) for image in curves.images],
        "start": {score: _short(curves.scores[score][:, 0]) for score in comparison.scores},
        "kept": {score: _short(curves.scores[score][:, -1]) for score in comparison.scores},
        "gap": _short(gap(curves, comparison.scores)),
        "seconds": _short(curves.seconds[:, -1]),
        "pictures": {
            kind: [
                thumbnails.add(found[image][kind], kind == "steps", recorded[image].get(kind))
                if kind in found.get(image, {})
                else -1
                for image in curves.images
            ]
            for kind in kinds
        },
    }


def curves(run: Curves) -> list[dict[str, Any]]:
    """For each image of the run, in order: the climbed reward of every step, and the official scores of those with any.

    Numbers are little-endian float32 in base64. ``scores`` is (rewards, scored steps) with the rewards in the order of
    the run's ``columns``.
    """
    official = np.stack(list(run.official.values()), axis=1)  # (images, rewards, steps)
    return [
        {"reward": _packed(reward), "scored": (scored := _scored(scores)), "scores": _packed(scores[:, scored])}
        for reward, scores in zip(run.reward, official, strict=True)
    ]


def _scored(scores: NDArray[np.float32]) -> list[int]:
    """The steps at which any reward of (rewards, steps) has a score."""
    return np.flatnonzero(~np.isnan(scores).all(0)).tolist()


def _packed(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _short(values: Any) -> list[float | None]:
    """Numbers with six significant digits, as in the tables; None where there is no number."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
