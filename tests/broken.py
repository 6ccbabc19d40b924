"""Parts that are wrong in one place, for what must notice it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradproj.models.flux import Flux
from gradproj.models.sd_turbo import SDTurbo
from gradproj.rewards.pickscore import PickScore


class OneWeight(Flux):
    """One number of one weight is another than in the file."""

    @cached_property
    def pipeline(self) -> Any:
        pipeline = super().pipeline
        with torch.no_grad():
            pipeline.transformer.proj_out.weight[0, 0] += 0.5
        return pipeline


class ShiftedStep(SDTurbo):
    """The step begins at a noise level that the scheduler does not have."""

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        super().plan(config, scheduler)
        self.euler = replace(self.euler, sigma=1.05 * self.euler.sigma)


class HalfGradient(Flux):
    """The right picture, and half of its gradient."""

    def generate(self, latent: Tensor, condition: Any) -> Tensor:
        return super().generate(latent.detach() + (latent - latent.detach()) / 2, condition)


class NotANumber(Flux):
    """No picture."""

    def generate(self, latent: Tensor, condition: Any) -> Tensor:
        return super().generate(latent, condition) * float("nan")


class ScoresNotANumber(PickScore):
    """No score."""

    def score(self, pictures: Any, prompts: Any) -> Tensor:
        return super().score(pictures, prompts) * float("nan")


class OffByTwoPercent(PickScore):
    """Another unit, in both forms."""

    def __call__(self, image: Tensor, text: Any) -> Tensor:
        return 1.02 * super().__call__(image, text)

    def score(self, pictures: Any, prompts: Any) -> Tensor:
        return 1.02 * super().score(pictures, prompts)


class ClimbsAnother(PickScore):
    """The official form is right, and what is climbed is not it."""

    def __call__(self, image: Tensor, text: Any) -> Tensor:
        return super().__call__(image.flip(-1), text)
