"""What is kept of the images of one batch on their way: a row per step, official scores, pictures and latents."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image as Pillow
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.execution import protocol
from gradproj.optimize import Step
from gradproj.runs.scored_steps import scored_steps
from gradproj.spectrum import distance, flatness

Rows = Sequence[Mapping[str, float]]  # of a batch at one step: what the record of each image gets, by column
BLOCK = 16  # B of the latent's recorded statistics, the same for every method


@dataclass
class ImageTrajectory:
    """One image on its way. Pictures are (3, h, w) in [0, 1], on the device; the best one has the highest reward.

    ``best_latent`` and ``last_latent`` are the latents of these pictures, (*latent) float32.
    """

    prompt: str
    rows: list[dict[str, float]] = field(default_factory=list)
    start: Any = None
    best: Any = None
    last: Any = None
    best_latent: Any = None
    last_latent: Any = None
    best_step: int = 0
    best_reward: float = -math.inf
    stall: int = 0  # steps in a row that were skipped, up to now
    longest_stall: int = 0
    halvings: int = 0  # attempts at a gradient at half the scale, beyond the first of each step
    flaw: str | None = None  # the first number that was not finite where it had to be

    def add(self, row: dict[str, float], picture: Tensor, latent: Tensor) -> None:
        """Take in the next step's row, its picture and the picture's latent."""
        self.rows.append(row)
        self.stall = self.stall + 1 if row["skipped"] else 0
        self.longest_stall = max(self.longest_stall, self.stall)
        if self.start is None:
            self.start, self.best, self.best_latent = picture, picture, latent
        if row["reward"] > self.best_reward:
            self.best_reward, self.best_step = row["reward"], int(row["step"])
            self.best, self.best_latent = picture, latent
        self.last, self.last_latent = picture, latent

    def kept(self, keep: str) -> tuple[Tensor, Tensor]:
        """The picture that is handed over and its latent: of the best step or of the last (``keep``)."""
        return (self.best, self.best_latent) if keep == "best" else (self.last, self.last_latent)

    def failure(self, max_skips: int) -> str | None:
        """Why this image must not be recorded; None where it came to a usable end."""
        last = self.rows[-1]["reward"]
        if self.longest_stall >= max_skips or not math.isfinite(last):
            stall = f"no usable gradient (zero or not finite) in {self.longest_stall} steps in a row"
            return f"{stall}, last reward {last}"
        return self.flaw


class BatchTrajectory:
    """The images of one batch.

    ``rewards`` (name -> reward) score the pictures at the ``scored_steps(steps, score_every)``, and ``prompts`` has the
    text of each.
    """

    def __init__(self, rewards: Mapping[str, Any], prompts: Sequence[str], steps: int, score_every: int | str) -> None:
        self.rewards, self.scored = rewards, set(scored_steps(steps, score_every))
        self.images = [ImageTrajectory(prompt) for prompt in prompts]
        self.first: Tensor | None = None  # latents of step 0, (b, N)

    def add(self, step: Step) -> None:
        """Add one row per image; pictures are scored where they are to be."""
        scored = step.index in self.scored
        rows = self._rows(step, scored)
        for image, row, picture, latent in zip(self.images, rows, step.image, step.latent, strict=True):
            image.halvings += int(row.pop("halvings"))
            image.add(row, picture, latent)
        if scored:
            self._score(self.images, [image.rows[-1] for image in self.images], step.image)

    def score_best(self, render: Callable[[Tensor, Sequence[str]], Tensor | None] = lambda *_: None) -> None:
        """Score the best step's picture too, of the images whose best step was not scored on the way.

        ``render(latents, prompts)``: the pictures to score, None where those of the steps are.
        """
        behind = [image for image in self.images if not self.rewards.keys() <= image.rows[image.best_step].keys()]
        if behind:
            rows = [image.rows[image.best_step] for image in behind]
            drawn = render(torch.stack([image.best_latent for image in behind]), [image.prompt for image in behind])
            for image, picture in zip(behind, [] if drawn is None else drawn, strict=drawn is not None):
                image.best = picture
            self._score(behind, rows, torch.stack([image.best for image in behind]))

    def _rows(self, step: Step, scored: bool) -> list[dict[str, float]]:
        """The columns of a record but for the official scores, and the halvings, one row per image."""
        latent = step.latent.flatten(1)
        if self.first is None:
            self.first = latent.clone()
        columns = {
            "reward": step.reward,
            "gradient_norm": step.gradient_norm,
            "latent_rms": latent.square().mean(1).sqrt(),
            "cosine": torch.cosine_similarity(latent, self.first, dim=1),
            "skipped": step.skipped,
            "halvings": step.halvings,
        }
        if scored and latent.shape[1] % (2 * BLOCK) == 0:
            columns |= {"flatness": flatness(latent, BLOCK), "distance": distance(latent, BLOCK)}
        values = torch.stack([column.double() for column in columns.values()], dim=1).tolist()
        time = {"step": float(step.index), "seconds": step.seconds / len(self.images)}
        return [time | dict(zip(columns, row, strict=True)) for row in values]

    def _score(self, images: Sequence[ImageTrajectory], rows: Sequence[dict[str, float]], pictures: Tensor) -> None:
        """Add every reward's official score to ``rows``; what is not finite becomes the image's flaw."""
        levels, prompts = to_pictures(pictures), [image.prompt for image in images]
        columns = {
            name: protocol.score(name, reward, levels, prompts).tolist() for name, reward in self.rewards.items()
        }
        finite = pictures.flatten(1).isfinite().all(1).tolist()
        for index, (image, row) in enumerate(zip(images, rows, strict=True)):
            scores = {name: column[index] for name, column in columns.items()}
            row.update(scores)
            wrong = [f"{name} scored {value}" for name, value in scores.items() if not math.isfinite(value)]
            wrong += [] if finite[index] else ["the picture is not finite"]
            if wrong and image.flaw is None:
                image.flaw = f"{', '.join(wrong)} at step {row['step']:.0f}"


def to_pictures(images: Tensor) -> list[Picture]:
    """(b, 3, h, w) in [0, 1] to 8-bit PIL pictures, rounded to the nearest level."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Pillow.fromarray(level) for level in levels]
