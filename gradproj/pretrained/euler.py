"""The one Euler step of SD-Turbo and SDXL-Turbo, its constants read from the pipeline's own scheduler."""

from dataclasses import dataclass
from typing import Any

from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from torch import Tensor

from gradproj.errors import UserError


@dataclass(frozen=True)
class EulerStep:
    """From noise of standard deviation ``sigma`` to none, at ``timestep``; ``start`` scales a N(0, 1) latent."""

    timestep: float
    sigma: float
    start: float

    @classmethod
    def of(cls, scheduler: Any) -> "EulerStep":
        """``UserError`` for a scheduler whose single step is another one."""
        config = scheduler.config
        scheduler.set_timesteps(1)
        known = isinstance(scheduler, (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler))
        if not known or config.prediction_type != "epsilon" or float(scheduler.sigmas[-1]) != 0:
            raise UserError(
                "expected an Euler scheduler that predicts the noise and ends without any, got "
                f"{type(scheduler).__name__} with prediction_type {config.prediction_type}: "
                "use a distilled one-step model such as the published one"
            )
        return cls(float(scheduler.timesteps[0]), float(scheduler.sigmas[0]), float(scheduler.init_noise_sigma))

    def network_input(self, noisy: Tensor) -> Tensor:
        """x / sqrt(sigma^2 + 1): about unit variance."""
        return noisy / (self.sigma**2 + 1) ** 0.5

    def clean(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """x - sigma eps: the latent of the picture."""
        return noisy - self.sigma * noise
