"""What is kept of the images of one batch on their way: their rows, official scores and pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image as Pillow
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.optimize import Step
from gradproj.spectrum import distance, flatness

BLOCK = 16  # B of the latent's recorded statistics, the same for every method


@dataclass
class Track:
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


@dataclass
class Tracks:
    """A batch: ``texts`` has the prompt of each image, ``rewards`` (name -> reward) score the pictures."""

    rewards: Mapping[str, Any]
    texts: Sequence[str]
    steps: int
    score_every: int
    each: list[Track] = field(init=False)

    def __post_init__(self) -> None:
        self.each = [Track() for _ in self.texts]

    def follow(self, step: Step) -> None:
        """Add one row per sample; score the pictures at every ``score_every``-th step and at the last."""
        flat = step.latent.detach().flatten(1)
        if step.index == 0:
            for one, track in zip(flat, self.each, strict=True):
                track.latent = one.clone()
        first = torch.stack([track.latent for track in self.each])
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
        scores = self._score(to_pictures(step.image), self.texts) if scored else [{}] * len(self.each)
        for row, score, image, track in zip(values, scores, step.image, self.each, strict=True):
            named = dict(zip(columns, row, strict=True))
            track.add({"step": float(step.index), "seconds": step.seconds / len(self.each), **named, **score}, image)

    def score_best(self) -> None:
        """The best step's official scores, for the samples whose best step was not scored on the way."""
        best = [(track, text, track.rows[track.best_step]) for track, text in zip(self.each, self.texts, strict=True)]
        behind = [(track, text, row) for track, text, row in best if not self.rewards.keys() <= row.keys()]
        if behind:
            pictures = to_pictures(torch.stack([track.best for track, _, _ in behind]))
            scores = self._score(pictures, [text for _, text, _ in behind])
            for (_, _, row), score in zip(behind, scores, strict=True):
                row.update(score)

    def _score(self, pictures: Sequence[Any], texts: Sequence[str]) -> list[dict[str, float]]:
        columns = {name: reward.score(pictures, texts).tolist() for name, reward in self.rewards.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def to_pictures(images: Tensor) -> list[Picture]:
    """(b, 3, h, w) in [0, 1] to 8-bit PIL pictures, rounded to the nearest level."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Pillow.fromarray(level) for level in levels]
