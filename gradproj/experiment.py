"""One run: every missing image optimised, scored and recorded, batch after batch. Knows nothing of Hydra."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image as Pillow
from PIL.Image import Image as Picture
from torch import Tensor
from tqdm import tqdm

from gradproj.errors import UserError
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.records import Run
from gradproj.spectrum import distance, flatness
from gradproj.types import Method, Model, Reward

Key = tuple[int, int]  # (prompt id, seed) names an image
BLOCK = 16  # B of the latent's recorded statistics, the same for every method


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
                "model.decoder_checkpointing=blocks, then model.checkpointing=blocks, held_out=after, and "
                "rewards.NAME.checkpointing=blocks where the reward has it (docs/models.md has the sizes)"
            ) from error
        except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"a setting or a prompt does not fit: {error}") from error

    def _rehearse(self, batch: int) -> None:
        images = [(0, seed) for seed in range(batch)]
        for _ in self._steps(images, [self.prompts[0]] * batch, steps=1):
            pass

    def _steps(self, images: Sequence[Key], texts: Sequence[str], steps: int) -> Iterator[Step]:
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

    def complete(self, run: Run, images: Sequence[Key], batch: int) -> int:
        """Optimise and record ``images``, ``batch`` at a time; returns how many failed (each leaves its reason).

        The batches come in an order that no other process shares, and what another one recorded meanwhile is left out:
        two that were started by mistake do almost nothing twice (docs/decisions/0004).
        """
        failed = 0
        batches = [images[start : start + batch] for start in range(0, len(images), batch)]
        random.shuffle(batches)
        with tqdm(total=len(images), desc="images", disable=None, position=0) as bar:
            for chunk in batches:
                missing = [image for image in chunk if not run.has(*image)]
                failed += self._try(run, missing) if missing else 0
                bar.update(len(chunk))
        run.rest()
        return failed

    def _try(self, run: Run, images: Sequence[Key], note: str = "") -> int:
        """A batch; where the GPU's memory does not do, its images one by one, then under a cheaper memory policy."""
        failed, reason = 0, ""
        try:
            failed = self._complete_batch(run, images)
        except torch.OutOfMemoryError as error:
            reason = str(error)  # the exception itself would hold the failed attempt in memory
        except (RuntimeError, ValueError) as error:  # a failed kernel, a latent not finite
            if type(error).__module__.startswith("submitit"):
                raise  # the scheduler ends this worker: no fault of the image's
            for image in images:
                run.fail(*image, f"{type(error).__name__}: {error}")
            return len(images)
        if reason and len(images) > 1:
            return sum(self._try(run, [image], "out of memory: batch=1") for image in images)
        if reason:
            saved = getattr(self.model, "save_memory", lambda: None)()
            if saved:
                return self._try(run, images, f"{note or 'out of memory'}: {saved}")
            run.fail(*images[0], f"out of memory under the cheapest policy: {reason}")
            return 1
        for image in images if note else ():
            run.note(*image, note)
        return failed

    def _complete_batch(self, run: Run, images: Sequence[Key]) -> int:
        texts = [self.prompts[prompt] for prompt, _ in images]
        tracks = [_Track() for _ in images]
        steps = self._steps(images, texts, self.steps)
        label = f"  {texts[0]}" + (f" and {len(texts) - 1} more" if len(texts) > 1 else "")
        with tqdm(steps, total=self.steps + 1, desc=label[:60], disable=None, position=1, leave=False) as bar:
            for step in bar:
                run.beat(len(images))
                bar.set_postfix(reward=f"{step.reward.mean().item():.4f}", refresh=False)
                self._follow(step, texts, tracks)
        self._score_best(texts, tracks)
        failed = 0
        for image, track in zip(images, tracks, strict=True):
            if track.longest_stall >= min(self.max_skips, self.steps) or not math.isfinite(track.rows[-1]["reward"]):
                run.fail(
                    *image,
                    f"no usable gradient (zero or not finite) in {track.longest_stall} steps in a row, "
                    f"last reward {track.rows[-1]['reward']}",
                )
                failed += 1
            else:
                kept = track.best if self.keep == "best" else track.last
                start, end = to_pictures(torch.stack([track.start, kept]))
                run.write(*image, track.rows, {"-start": start, "": end})
        return failed

    def _follow(self, step: Step, texts: Sequence[str], tracks: Sequence["_Track"]) -> None:
        """Add one row per sample; score the pictures at every ``score_every``-th step and at the last."""
        flat = step.latent.detach().flatten(1)
        if step.index == 0:
            for one, track in zip(flat, tracks, strict=True):
                track.latent = one.clone()
        first = torch.stack([track.latent for track in tracks])
        columns = {
            "reward": step.reward,
            "gradient_norm": step.gradient_norm,
            "latent_rms": flat.square().mean(1).sqrt(),
            "cosine": torch.cosine_similarity(flat, first, dim=1),
            "skipped": step.skipped,
        }
        scored = step.index % self.score_every == 0 or step.index == self.steps
        if scored and flat.shape[1] % (2 * BLOCK) == 0:
            columns |= {"flatness": flatness(flat, BLOCK), "distance": distance(flat, BLOCK)}
        values = torch.stack([column.double() for column in columns.values()], dim=1).tolist()
        scores = self._score(to_pictures(step.image), texts) if scored else [{}] * len(tracks)
        for row, score, image, track in zip(values, scores, step.image, tracks, strict=True):
            named = dict(zip(columns, row, strict=True))
            track.add({"step": float(step.index), "seconds": step.seconds / len(tracks), **named, **score}, image)

    def _score_best(self, texts: Sequence[str], tracks: Sequence["_Track"]) -> None:
        """The best step's official scores, for the samples whose best step was not scored on the way."""
        behind = [i for i, track in enumerate(tracks) if not self.rewards.keys() <= track.rows[track.best_step].keys()]
        if behind:
            pictures = to_pictures(torch.stack([tracks[i].best for i in behind]))
            scores = self._score(pictures, [texts[i] for i in behind])
            for i, score in zip(behind, scores, strict=True):
                tracks[i].rows[tracks[i].best_step].update(score)

    def _score(self, pictures: Sequence[Any], texts: Sequence[str]) -> list[dict[str, float]]:
        columns = {name: reward.score(pictures, texts).tolist() for name, reward in self.rewards.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass
class _Track:
    """What is kept of one image on the way: its rows, its first latent and its first, best (by climbed reward) and
    last picture (3, h, w) on the device."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_reward: float = -math.inf
    best_step: int = 0
    latent: Any = None
    start: Any = None
    best: Any = None
    last: Any = None
    stall: int = 0
    longest_stall: int = 0

    def add(self, row: dict[str, float], image: Tensor) -> None:
        self.rows.append(row)
        self.stall = self.stall + 1 if row["skipped"] else 0
        self.longest_stall = max(self.longest_stall, self.stall)
        if self.start is None:
            self.start = self.best = image
        if row["reward"] > self.best_reward:
            self.best_reward, self.best_step, self.best = row["reward"], int(row["step"]), image
        self.last = image


def weighted(rewards: Mapping[str, Reward], target: Mapping[str, float]):
    """The climbed reward: a call (image, {name: text}) -> weighted sum over ``target``."""

    def climbed(image: Tensor, texts: Mapping[str, Any]) -> Tensor:
        return sum((weight * rewards[name](image, texts[name]) for name, weight in target.items()), torch.zeros(()))

    return climbed


def to_pictures(images: Tensor) -> list[Picture]:
    """(b, 3, h, w) in [0, 1] to 8-bit PIL pictures, rounded to the nearest level."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Pillow.fromarray(level) for level in levels]
