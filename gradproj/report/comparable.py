"""Whether the numbers of the runs in one comparison may stand side by side: same weights, same start."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from gradproj.report.compare import Comparison, checkpoint
from gradproj.report.load import Array, Curves

START_TOLERANCE = 1e-3  # of a score's spread over the starts; other hardware scores the same image a little differently


def problems(comparison: Comparison) -> Iterator[str]:
    """A line for every reason why runs of the comparison may not stand side by side: other weights, another start."""
    first, *others = comparison.methods.values()
    for curves in others:
        shared = [score for score in comparison.scores if _has(first, score) and _has(curves, score)]
        for difference in chain(_other_weights(first, curves, shared), _other_start(first, curves, shared)):
            yield (
                f"{curves.run.folder.name} and {first.run.folder.name} cannot be compared: {difference}; choose runs "
                "with --only, or move one of the two away and make it again beside the other"
            )


def _has(curves: Curves, score: str) -> bool:
    """Whether the run scored its starts with ``score``."""
    return bool(np.isfinite(curves.scores[score][:, 0]).all())


def _other_weights(first: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for name in ["model", *scores]:
        if checkpoint(first, name)["weights"] != checkpoint(other, name)["weights"]:
            yield f"{name} has other weights in the two, under one name (config.yaml and scores/ say which)"


def _other_start(first: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for score in scores:
        found, expected = other.scores[score][:, 0], first.scores[score][:, 0]
        for index in np.flatnonzero(np.abs(found - expected) > START_TOLERANCE * _spread(expected) + 1e-6)[:1]:
            image = first.images[index]
            yield f"{score} of image {image} at step 0 is {found[index]:.6g} against {expected[index]:.6g}"


def _spread(values: Array) -> float:
    """The standard deviation of ``values``; their size, where they are all equal or there is only one."""
    return float(values.std() if len(values) > 1 and np.ptp(values) > 0 else np.abs(values).max())
