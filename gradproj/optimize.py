"""The one loop: generate, score, step. It writes and logs nothing: whoever iterates over it decides what to keep."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradproj.types import Image, Latent, Method, Model, Score


@dataclass(frozen=True)
class Step:
    """One iteration: the latent before its update, and the picture and the reward of that latent.

    ``seconds`` is the time that the loop has taken up to this reward, without its backward pass and without what the
    caller does between the steps; the device is synchronised before the clock is read. ``gradient_norm`` is the l2 norm
    of the reward's gradient. ``skipped`` marks samples that could not move, because a gradient was zero or not finite.
    ``halvings`` counts the further attempts at a sample's gradient that the model made (``types.Model``). The last step
    computes no gradient: its norm is NaN and nothing is skipped.
    """

    index: int
    seconds: float
    latent: Latent
    image: Image
    reward: Score
    gradient_norm: Float[Tensor, " b"]
    skipped: Bool[Tensor, " b"]
    halvings: Int[Tensor, " b"]


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

    ``reward`` maps (image, text) to one score per sample. ``condition`` and ``text`` are what the ``encode`` of the
    model and of the reward returned for the b prompts. ``rng`` has one CPU generator per sample. No sample sees another
    one, so that a batch gives what its samples give alone.
    """
    samples = [start[None].clone() for start in latent.to(model.device)]  # each has its own optimiser state
    optimizer = method.optimizer(samples)
    clock = _Clock(model.device)
    for index in range(steps + 1):
        clock.start()
        current = torch.cat(samples).requires_grad_(index < steps)
        image = model.generate(current, condition)
        value = reward(image, text)
        seconds = clock.read()
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
        halvings = getattr(model, "halvings", torch.zeros_like(moved, dtype=torch.int64))
        yield Step(index, seconds, current, image.detach(), value.detach(), norm, ~moved, halvings)


def _update(samples, optimizer, method: Method, latent: Tensor, gradient: Tensor, usable: Tensor, rng) -> Tensor:
    """One optimiser step and retraction of the usable samples; returns which samples moved, (b,) bool."""
    chosen = [i for i, one in enumerate(usable.tolist()) if one]
    if not chosen:
        return usable
    ascent = method.direction(_of(latent, chosen), _of(gradient, chosen), [rng[i] for i in chosen])
    descent = {  # the sign is turned because torch's optimisers descend
        i: -min(1.0, method.clip / max(length, 1e-300)) * direction
        for i, direction, length in zip(chosen, ascent, _norm(ascent).tolist(), strict=True)
        if math.isfinite(length)
    }
    moved = usable if len(descent) == len(chosen) else usable.new_tensor([i in descent for i in range(len(samples))])
    if not descent:
        return moved
    for i, sample in enumerate(samples):  # a sample without gradient keeps its latent and its optimiser state
        sample.grad = descent[i][None] if i in descent else None
    optimizer.step()
    retracted = method.retract(torch.cat([samples[i] for i in descent]))
    for i, latent_after in zip(descent, retracted, strict=True):
        samples[i].copy_(latent_after[None])
    return moved


def _of(batch: Tensor, chosen: list[int]) -> Tensor:
    """A copy of these samples. Where they are all, the device needs no list of them, which the host would wait for."""
    return batch.clone() if len(chosen) == len(batch) else batch[chosen]


def _norm(vectors: Tensor) -> Tensor:
    """The l2 norm of each sample, in float64, because the squares of a gradient of rms 1e-23 are zero in float32."""
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64)


class _Clock:
    """Adds up the seconds between every ``start`` and ``stop``; each, and ``read``, waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.total, self.since = device, 0.0, 0.0

    def start(self) -> None:
        self._wait()
        self.since = time.perf_counter()

    def read(self) -> float:
        self._wait()
        return self.total + (time.perf_counter() - self.since)

    def stop(self) -> None:
        self.total = self.read()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
