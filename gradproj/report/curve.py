"""A method's curve over its scored steps: where it reaches a level, what stands there, and the area that it dominates.

A place on a curve is a fractional index of its points: 1.5 is midway from the second point to the third.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Array


def crossing(curve: Array, level: float) -> float:
    """The first place where ``curve`` (points,), straight between its points, is at ``level``, which it reaches."""
    after = int(np.argmax(curve >= level))
    if after == 0:
        return 0.0
    before = after - 1
    return before + (level - curve[before]) / (curve[after] - curve[before])


def at(values: Array, place: float) -> Array:
    """``values`` (images, points) at a place, linearly between the points: (images,)."""
    before = int(place)
    after = min(before + 1, values.shape[1] - 1)
    return values[:, before] + (place - before) * (values[:, after] - values[:, before])


def step_at(steps: NDArray[np.int64], place: float) -> float:
    """The step at a place, ``steps`` (points,) being those of the curve's points."""
    return float(np.interp(place, np.arange(len(steps)), steps))


def area(x: Array, y: Array, corner: tuple[float, float]) -> Any:
    """Area of the union of the rectangles from ``corner`` to the points (x, y) above it: (...,) of (..., points)."""
    order = np.argsort(x, axis=-1)
    width = np.diff(np.maximum(np.take_along_axis(x, order, -1), corner[0]), prepend=corner[0], axis=-1)
    height = np.maximum(np.take_along_axis(y, order, -1) - corner[1], 0)
    return (width * np.maximum.accumulate(height[..., ::-1], axis=-1)[..., ::-1]).sum(-1)
