"""One run: every missing image optimised, scored and recorded, batch after batch. Knows nothing of Hydra."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gradproj.errors import UserError
from gradproj.execution.trajectory import Track, Tracks, to_pictures
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.types import Method, Model, Reward


@dataclass
class Experiment:
    """The parts of a run, ready to work. ``target`` maps the climbed rewards' names to their weights."""

    model: Model
    method: Method
    rewards: Mapping[str, Any]
    target: Mapping[str, float]
    prompts: Sequence[str]
    steps: int
    keep: str
    score_every: int
    max_skips: int
    _saved: list[str] = field(
        default_factory=list, init=False
    )  # cheaper memory policies that the model took on the way

    def check(self, batch: int = 1) -> None:
        """Let every part meet its input once: a bad prompt or a block that does not fit surfaces before the work.

        On a GPU also one iteration of a whole batch, thrown away: what does not fit in its memory surfaces too.
        """
        one = torch.randn(1, *self.model.latent_shape, generator=generator("check", 0, 0))
        try:
            if not self.method.clip > 0:
                raise ValueError(f"method.clip must be positive, got {self.method.clip}")
            self.method.optimizer([one])
            self.method.retract(self.method.direction(one, one, [generator("check", 0, 0)]))
            for part in (self.model, *(one for one in self.rewards.values() if hasattr(one, "encode"))):
                for start in range(0, len(self.prompts), 1024):  # the conditions of more at once are gigabytes
                    part.encode(self.prompts[start : start + 1024])
            if self.model.device.type == "cuda":
                self._rehearse(batch)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"one iteration of batch={batch} does not fit in the GPU's memory ({error}); type batch=1, then "
                "model.memory.decoder_checkpointing=blocks, then model.memory.checkpointing=blocks, held_out=after, "
                "and rewards.NAME.memory.checkpointing=blocks where the reward has it (docs/models.md has the sizes)"
            ) from error
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"a setting or a prompt does not fit: {error}") from error

    def _rehearse(self, batch: int) -> None:
        images = [ImageId(0, seed) for seed in range(batch)]
        for _ in self.iterate(images, steps=1):
            pass

    def iterate(self, images: Sequence[ImageId], steps: int) -> Iterator[Step]:
        """The loop on these images as one batch: ``steps`` + 1 items, nothing recorded."""
        texts = [self.prompts[prompt] for prompt, _ in images]
        return optimize(
            self.model,
            weighted(self.rewards, self.target),
            self.method,
            self.model.encode(texts),
            {name: self.rewards[name].encode(texts) for name in self.target},
            initial_latent(self.model.latent_shape, images).to(self.model.device),
            steps,
            [generator("method", *image) for image in images],
        )

    def complete(self, run: Run, images: Sequence[ImageId], batch: int) -> int:
        """Optimise and record ``images``, ``batch`` at a time; returns how many failed (each leaves its reason).

        The batches come in an order that no other process shares, and what another one recorded meanwhile is left out:
        two that were started by mistake do almost nothing twice (docs/decisions/0004).
        """
        failed = 0
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        random.shuffle(batches)
        try:
            with tqdm(total=len(images), desc="images", disable=None, position=0) as bar:
                for chunk in batches:
                    missing = [image for image in chunk if not run.has(image)]
                    failed += self._try(run, missing) if missing else 0
                    bar.update(len(chunk))
        finally:
            progress.rest(run)
        return failed

    def _try(self, run: Run, images: Sequence[ImageId], alone: Sequence[str] = ()) -> int:
        """A batch; where the GPU's memory does not do, its images one by one, then under a cheaper memory policy.

        Every image that is made so, then or later, has it in its note.
        """
        failed, reason = 0, ""
        try:
            failed = self._complete_batch(run, images)
        except torch.OutOfMemoryError as error:
            reason = str(error)  # the exception itself would hold the failed attempt in memory
        except (RuntimeError, ValueError) as error:  # a failed kernel, a latent not finite
            if type(error).__module__.startswith("submitit"):
                raise  # the scheduler ends this worker: no fault of the image's
            for image in images:
                progress.fail(run, image, f"{type(error).__name__}: {error}")
            return len(images)
        if reason and len(images) > 1:
            return sum(self._try(run, [image], ["batch=1"]) for image in images)
        if reason:
            saved = getattr(self.model, "save_memory", lambda: None)()
            if saved:
                self._saved.append(saved)
                return self._try(run, images, alone)
            progress.fail(run, images[0], f"out of memory under the cheapest policy: {reason}")
            return 1
        otherwise = [*alone, *self._saved]
        for image in images if otherwise else ():
            progress.note(run, image, f"out of memory: {': '.join(otherwise)}")
        return failed

    def _complete_batch(self, run: Run, images: Sequence[ImageId]) -> int:
        texts = [self.prompts[prompt] for prompt, _ in images]
        tracks = Tracks(self.rewards, texts, self.steps, self.score_every)
        steps = self.iterate(images, self.steps)
        label = f"  {texts[0]}" + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")
        with tqdm(steps, total=self.steps + 1, desc=label[:60], disable=None, position=1, leave=False) as bar:
            for step in bar:
                progress.beat(run, len(images))
                bar.set_postfix(reward=f"{step.reward.mean().item():.4f}", refresh=False)
                tracks.follow(step)
        tracks.score_best()
        return sum(not self._record(run, image, track) for image, track in zip(images, tracks.each, strict=True))

    def _record(self, run: Run, image: ImageId, track: Track) -> bool:
        """Whether the image came to a usable end; if not, it leaves its reason."""
        last = track.rows[-1]["reward"]
        if track.longest_stall >= min(self.max_skips, self.steps) or not math.isfinite(last):
            reason = f"no usable gradient (zero or not finite) in {track.longest_stall} steps in a row"
            progress.fail(run, image, f"{reason}, last reward {last}")
            return False
        kept = track.best if self.keep == "best" else track.last
        start, end = to_pictures(torch.stack([track.start, kept]))
        run.write(image, track.rows, {"start": start, "kept": end})
        return True


def weighted(rewards: Mapping[str, Reward], target: Mapping[str, float]):
    """The climbed reward: a call (image, {name: text}) -> weighted sum over ``target``."""

    def climbed(image: Tensor, texts: Mapping[str, Any]) -> Tensor:
        return sum((weight * rewards[name](image, texts[name]) for name, weight in target.items()), torch.zeros(()))

    return climbed
