"""Measures real iterations with random weights on the processor: seconds, memory, and whether all is finite."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gradproj.methods import ours
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.spectrum import project

IMAGE = (0, 0)  # prompt id, seed: any would do, and this noise is that of a run's first image


@dataclass(frozen=True)
class Measure:
    """Medians in seconds. ``forward`` ends with the reward; ``projection`` is of gradient and latent together.

    ``peak`` is the most bytes that the whole process had.
    """

    iteration: float
    forward: float
    projection: float
    peak: int
    finite: bool


def measure(model: Any, reward: Any, condition: Any, rounds: int, warm: int) -> Measure:
    """Measure ``rounds`` iterations of the real loop with our method, from the same noise, after ``warm`` others."""
    seen = [_iteration(model, reward, condition) for _ in range(warm + rounds)][warm:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    noise = initial_latent(model.latent_shape, [IMAGE])
    return Measure(
        iteration=statistics.median(seconds for seconds, _ in seen),
        forward=statistics.median(step.seconds for _, step in seen),
        projection=2 * median_time(lambda: project(noise)),
        peak=peak,
        finite=all(_finite(step) for _, step in seen),
    )


def _iteration(model: Any, reward: Any, condition: Any) -> tuple[float, Step]:
    """Seconds of one iteration and its step. The loop yields the step after the backward pass and the update, too."""
    optimizer = partial(torch.optim.Adam, lr=0.02)
    method = ours.method(optimizer, clip=0.03, block=16, project_gradient=True, project_latent=True)
    noise, rng = initial_latent(model.latent_shape, [IMAGE]), [generator("method", *IMAGE)]
    steps = optimize(model, reward, method, condition, None, noise, 1, rng)
    start = time.perf_counter()
    step = next(steps)
    return time.perf_counter() - start, step


def _finite(step: Step) -> bool:
    moved = not bool(step.skipped.any())
    return moved and all(bool(values.isfinite().all()) for values in (step.image, step.reward, step.gradient_norm))


def median_time(work: Callable[[], object]) -> float:
    """The median seconds of 20 calls, after one that does not count."""
    times = []
    for _ in range(21):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
