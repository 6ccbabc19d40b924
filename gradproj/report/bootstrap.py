"""95 % intervals of means over images.

Whole prompts are resampled, each with the images of all its seeds, because images of one prompt resemble each other.
"""

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Array

RESAMPLES = 2000


def per_prompt(values: Array, prompts: NDArray[np.int64], sums: bool = False) -> Array:
    """Means (or sums) of ``values`` (images, ...) over each prompt's images, (prompts, ...).

    ``prompts`` (images,) has each image's prompt as an index 0, 1, ...
    """
    total = np.zeros((prompts.max() + 1, *values.shape[1:]))
    np.add.at(total, prompts, values)
    return total if sums else total / _column(np.bincount(prompts).astype(np.float64), values)


def _column(values: Array, like: Array) -> Array:
    """``values`` (n,) with as many axes as ``like`` has, so that the two broadcast along the first one."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


class Bootstrap:
    """Percentile intervals. All of them are over the same resampled prompts, so that differences stay paired."""

    def __init__(self, prompts: NDArray[np.int64]) -> None:
        """``prompts`` (images,) has each image's prompt as an index 0, 1, ..."""
        self.prompts = prompts
        self.images = np.bincount(prompts).astype(np.float64)  # (prompts,)
        count = len(self.images)
        self.draws = (
            np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
        )

    def interval(self, values: Array) -> tuple[float, float]:
        """Both ends of the interval of the mean of ``values`` (images,), in their unit; NaN for a single prompt."""
        if len(self.images) == 1:
            return np.nan, np.nan
        low, high = np.quantile(self.means(values), [0.025, 0.975])
        return float(low), float(high)

    def means(self, values: Array) -> Array:
        """The mean of ``values`` (images, ...) over the images of every resample: (resamples, ...)."""
        return self.draws @ per_prompt(values, self.prompts, sums=True) / _column(self.draws @ self.images, values)


def difference(name: str, values: Array, bootstrap: Bootstrap) -> dict[str, float]:
    """``name``, the mean of paired differences ``values`` (images,), and its interval: ``name_low``, ``name_high``."""
    low, high = bootstrap.interval(values)
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
