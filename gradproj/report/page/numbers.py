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
from gradproj.report.first_images import RULE, first_images
from gradproj.report.gap import GAP, gain, gap, held_out
from gradproj.report.load import Curves
from gradproj.report.page.thumbnails import BLOCK, Thumbnails, pictures
from gradproj.report.page.verdict import verdict
from gradproj.report.plots.lettering import without_prefix
from gradproj.report.table import digits
from gradproj.runs.scored_steps import EARLY


def head(title: str, comparisons: Sequence[Comparison], thumbnails: Thumbnails) -> dict[str, Any]:
    """Everything but the curves and the pictures, which stand here by the numbers that ``thumbnails`` gives them."""
    compared = [_comparison(comparison) for comparison in comparisons]
    for comparison, shown in zip(comparisons, compared, strict=True):
        _add_first(comparison, shown["first"], thumbnails)
    return {
        "title": title,
        "early": EARLY,
        "block": BLOCK,
        "gap": GAP,
        "rule": RULE,
        "comparisons": compared,
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
        "short": without_prefix(comparison.scores),
        "decimals": [_decimals(comparison, score) for score in comparison.scores],
        "held_out": held_out(first, comparison.scores),
        "verdict": verdict(comparison),
        "first": first_images(comparison),
        "prompts": [str(prompt) for prompt in first.run.config["prompts"]],
    }


def _decimals(comparison: Comparison, score: str) -> int:
    """How many decimals give the largest number of a score three significant digits."""
    ends = [curves.scores[score][:, [0, -1]].ravel() for curves in comparison.methods.values()]
    return max(0, digits(np.concatenate(ends).tolist()) - 1)


def _add_first(comparison: Comparison, images: Sequence[int], thumbnails: Thumbnails) -> None:
    """Number the pictures that the page begins with before all others, so that it need parse no others for them."""
    for curves in comparison.methods.values():
        for index in images:
            for path in curves.run.pictures(curves.images[index]).values():
                thumbnails.add(path)


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
        "gain": dict(zip(comparison.scores, _short(_gains(curves, comparison.scores)), strict=True)),
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


def _gains(curves: Curves, scores: Sequence[str]) -> NDArray[np.float64]:
    """The mean of ``gain`` over the images, (scores,)."""
    return np.array([gain(curves, score).mean() for score in scores])


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
