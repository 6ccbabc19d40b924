"""A method's curve over its scored steps: where it reaches a level, what stands there, and the area that it dominates.

A curve is straight between its points. A position on it is a fractional index of the points: 1.5 lies halfway between
the second point and the third.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Array


def crossing(curve: Array, level: float) -> float:
    """The first position at which ``curve`` (points,) is at ``level``. The curve must reach the level."""
    after = int(np.argmax(curve >= level))
    if after == 0:
        return 0.0
    before = after - 1
    return before + (level - curve[before]) / (curve[after] - curve[before])


def at(values: Array, position: float) -> Array:
    """What ``values`` (images, points) are at a position, (images,), linear between the points."""
    before = int(position)
    after = min(before + 1, values.shape[1] - 1)
    return values[:, before] + (position - before) * (values[:, after] - values[:, before])


def step_at(steps: NDArray[np.int64], position: float) -> float:
    """The step at a position, where ``steps`` (points,) are the steps of the curve's points."""
    return float(np.interp(position, np.arange(len(steps)), steps))


def between(steps: NDArray[np.int64], position: float) -> str:
    """The scored steps on both sides of a position, as "14-20"; one step alone where the position is a point."""
    before, after = steps[int(np.floor(position))], steps[int(np.ceil(position))]
    return str(before) if before == after else f"{before}-{after}"


def area(x: Array, y: Array, corner: tuple[float, float]) -> Any:
    """The area that the points (``x``, ``y``), (..., points) each, dominate above ``corner``: (...,).

    It is the area of all the rectangles together that reach from ``corner`` to a point above and right of it.
    """
    order = np.argsort(x, axis=-1)
    width = np.diff(np.maximum(np.take_along_axis(x, order, -1), corner[0]), prepend=corner[0], axis=-1)
    height = np.maximum(np.take_along_axis(y, order, -1) - corner[1], 0)
    return (width * np.maximum.accumulate(height[..., ::-1], axis=-1)[..., ::-1]).sum(-1)
