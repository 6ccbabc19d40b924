"""The hacking gap: how much more an image gained in what was climbed than in what was held out."""

from collections.abc import Sequence

import numpy as np

from gradproj.report.load import Array, Curves
from gradproj.runs.naming import target

GAP = (
    "Hacking gap: the gain in the target minus the mean gain in the held-out scores, each gain (kept minus start) "
    "divided by that score's standard deviation over the start images."
)


def held_out(curves: Curves, scores: Sequence[str]) -> list[str]:
    """Those of ``scores`` (in the order of ``Comparison.scores``, the target first) that were not climbed."""
    return [score for score in scores[1:] if score not in target(curves.run.config)]


def gain(curves: Curves, score: str) -> Array:
    """``score`` at the last step minus at the start, (images,), in standard deviations of the start scores.

    The deviation is over these images (divisor n). Where all start images score alike there is no scale: NaN.
    """
    values = curves.scores[score]
    scale = values[:, 0].std() if np.ptp(values[:, 0]) > 0 else np.nan
    return (values[:, -1] - values[:, 0]) / scale


def gap(curves: Curves, scores: Sequence[str]) -> Array:
    """The gain in the target ``scores[0]`` minus the mean gain in the held-out scores, (images,), as ``gain`` has them.

    It is positive where the target rose further than the held-out scores. A held-out score without a scale is left out
    of the mean; where no held-out score has a scale, the gap is NaN.
    """
    others = [gain(curves, score) for score in held_out(curves, scores)]
    given = np.isfinite(others).sum(0) if others else np.zeros(len(curves.images), dtype=np.int64)
    total = np.nansum(others, axis=0) if others else np.zeros(len(curves.images))
    mean = np.divide(total, given, out=np.full(len(curves.images), np.nan), where=given > 0)
    return gain(curves, scores[0]) - mean
