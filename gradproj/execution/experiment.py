"""What a run is: a model, a method, the rewards and the numbers of the loop. Knows nothing of folders or settings."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradproj.execution import protocol
from gradproj.execution.profile import REST, Profile, phase
from gradproj.execution.trajectory import BatchTrajectory, Rows
from gradproj.execution.watched import watched
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.runs.naming import ImageId
from gradproj.types import Method, Model


@dataclass(frozen=True)
class Experiment:
    """The parts of a run, ready to work.

    ``rewards`` (name -> reward) are all that score the pictures on the way; ``target`` maps the names of those that are
    climbed to their weights. ``steps``, ``keep``, ``score_every`` and ``max_skips`` are the settings of these names.
    ``profile`` measures where the time goes; None: nobody does.
    """

    model: Model
    method: Method
    rewards: Mapping[str, Any]
    target: Mapping[str, float]
    prompts: Sequence[str]
    steps: int
    keep: str
    score_every: int | str
    max_skips: int
    profile: Profile | None = None

    def phase(self, name: str) -> AbstractContextManager[None]:
        """A block of the phase ``name``, for the profile."""
        return phase(self.profile, name)

    def iterate(self, images: Sequence[ImageId], steps: int) -> Iterator[Step]:
        """The loop on these images as one batch: ``steps`` + 1 items, nothing kept."""
        prompts = [self.prompts[prompt] for prompt, _ in images]
        with self.phase("text"):
            condition = self.model.encode(prompts)
            texts = {name: self.rewards[name].encode(prompts) for name in self.target}
        parts = self.model, self.climb, self.method
        return optimize(
            *(watched(self.profile, *parts) if self.profile else parts),
            condition,
            texts,
            initial_latent(self.model.latent_shape, images).to(self.model.device),
            steps,
            [generator("method", *image) for image in images],
        )

    def climb(self, image: Tensor, texts: Mapping[str, Any]) -> Tensor:
        """The climbed reward, (b,): the weighted sum over ``target``. ``texts``: name -> its encoded prompts."""
        values = (
            weight * protocol.climb(name, self.rewards[name], image, texts[name])
            for name, weight in self.target.items()
        )
        return sum(values, torch.zeros(()))

    def follow(
        self, images: Sequence[ImageId], steps: Iterable[Step], see: Callable[[Step, Rows], object] | None = None
    ) -> BatchTrajectory:
        """What is kept of a batch whose ``steps`` (of ``iterate`` on the same images) are taken one after another.

        ``see(step, rows)`` is called after each, with the row that each image has of it. Scored steps have their
        ``official`` pictures.
        """
        prompts = [self.prompts[prompt] for prompt, _ in images]
        trajectory = BatchTrajectory(self.rewards, prompts, self.steps, self.score_every)
        for step in steps:
            scored = step.index in trajectory.scored
            with self.phase("scoring" if scored else REST):
                step = self.official(step, images) if scored else step
                trajectory.add(step)
            if see:
                see(step, [dict(image.rows[-1]) for image in trajectory.images])
        with self.phase("scoring"):
            trajectory.score_best(self._render)
        return trajectory

    def official(self, step: Step, images: Sequence[ImageId]) -> Step:
        """``step`` with the pictures that are scored and saved, where those of the climb are others."""
        drawn = self._render(step.latent, [self.prompts[prompt] for prompt, _ in images])
        return step if drawn is None else replace(step, image=drawn)

    def _render(self, latent: Tensor, prompts: Sequence[str]) -> Tensor | None:
        """The pictures that are scored and saved, (b, 3, h, w); None where they are those of the climb."""
        render = getattr(self.model, "render", None)
        if render is None:
            return None
        with protocol.blaming("model", self.model, "render"):
            return render(latent, self.model.encode(prompts))
