"""The one loop: generate, judge, step. No input or output, no logging; whoever iterates decides what to keep."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gradproj.types import Image, Latent, Method, Model, Score


@dataclass(frozen=True)
class Step:
    """What iteration ``index`` saw: the latent before its update, the picture and the reward of that latent.

    ``seconds`` is the loop's own time so far (device synchronised; the time the caller spends between steps does not
    count), up to this reward and before its backward. ``gradient_norm`` is the reward gradient's; ``skipped`` marks
    samples whose gradient was zero or not finite: they stayed where they are. The last step has neither (NaN, False).
    """

    index: int
    seconds: float
    latent: Latent
    image: Image
    reward: Score
    gradient_norm: Float[Tensor, " b"]
    skipped: Bool[Tensor, " b"]


def optimize(
    model: Model,
    reward: Callable[[Tensor, Any], Tensor],
    method: Method,
    condition: Any,
    text: Any,
    latent: Latent,
    steps: int,
    rng: Sequence[torch.Generator],
) -> Iterator[Step]:
    """Climb ``reward`` from ``latent`` (b, *latent) float32 for ``steps`` updates; yields ``steps`` + 1 items.

    ``reward`` maps (image, text) to one score per sample; ``condition`` and ``text`` are what the model's and reward's
    ``encode`` answered for the b prompts; ``rng`` has one CPU generator per sample. Everything is per sample: a
    batch gives what its members give alone.
    """
    samples = [start[None].clone() for start in latent.to(model.device)]  # a parameter each: optimiser state per sample
    optimizer = method.optimizer(samples)
    clock = _Clock(model.device)
    for index in range(steps + 1):
        clock.start()
        current = torch.cat(samples).requires_grad_(index < steps)
        image = model.generate(current, condition)
        value = reward(image, text)
        seconds = clock.stop()
        clock.start()
        if index < steps:
            (gradient,) = torch.autograd.grad(value.sum(), current)
            current = current.detach()
            norm = _norm(gradient)
            usable = norm.isfinite() & (gradient.flatten(1).abs().amax(dim=1) > 0) & value.detach().isfinite()
            moved = _update(samples, optimizer, method, current, gradient, usable, rng)
        else:
            norm = torch.full_like(value, torch.nan, dtype=torch.float64)
            moved = torch.ones_like(value, dtype=torch.bool)
        clock.stop()
        yield Step(index, seconds, current, image.detach(), value.detach(), norm, ~moved)


def _update(samples, optimizer, method: Method, latent: Tensor, gradient: Tensor, usable: Tensor, rng) -> Tensor:
    """One optimiser step and retraction of the usable samples; answers which of them moved."""
    moved = torch.zeros_like(usable)
    chosen = usable.nonzero().flatten().tolist()
    if not chosen:
        return moved
    ascent = method.direction(latent[chosen], gradient[chosen], [rng[i] for i in chosen])
    descent = {  # torch optimisers descend
        i: -min(1.0, method.clip / max(length, 1e-300)) * direction
        for i, direction, length in zip(chosen, ascent, _norm(ascent).tolist(), strict=True)
        if math.isfinite(length)
    }
    if not descent:
        return moved
    for i, sample in enumerate(samples):  # without a gradient a sample keeps its latent, state and step count
        sample.grad = descent[i][None] if i in descent else None
    optimizer.step()
    retracted = method.retract(torch.cat([samples[i] for i in descent]))
    for i, latent_after in zip(descent, retracted, strict=True):
        samples[i].copy_(latent_after[None])
    moved[list(descent)] = True
    return moved


def _norm(vectors: Tensor) -> Tensor:
    """l2 norm per sample, in float64: in float32 the squares of a gradient of rms 1e-23 are zero."""
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64)


class _Clock:
    """Adds up the time between ``start`` and ``stop``, waiting for the device at both ends."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.total, self.since = device, 0.0, 0.0

    def start(self) -> None:
        self._wait()
        self.since = time.perf_counter()

    def stop(self) -> float:
        self._wait()
        self.total += time.perf_counter() - self.since
        return self.total

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
