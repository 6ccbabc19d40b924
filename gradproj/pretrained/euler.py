"""The one Euler step of SD-Turbo and SDXL-Turbo, its constants read from the pipeline's own scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
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
    def of(cls, scheduler: Any, denoiser: Mapping[str, Any]) -> "EulerStep":
        """``UserError`` for a scheduler or a denoiser (its config) whose single step is another one."""
        if denoiser.get("time_cond_proj_dim") is not None:
            raise UserError("the UNet wants a guidance scale (time_cond_proj_dim), which the Turbo models have not")
        known = isinstance(scheduler, (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler))
        if known:
            scheduler.set_timesteps(1)
        sigmas = scheduler.sigmas.tolist() if known else []
        if len(sigmas) != 2 or sigmas[1] != 0 or scheduler.config.prediction_type != "epsilon":
            raise UserError(
                "expected an Euler scheduler that predicts the noise and ends without any, got "
                f"{type(scheduler).__name__} {dict(scheduler.config)}: use that of the published model"
            )
        return cls(float(scheduler.timesteps[0]), sigmas[0], float(scheduler.init_noise_sigma))

    def network_input(self, noisy: Tensor) -> Tensor:
        """x / sqrt(sigma^2 + 1): about unit variance."""
        return noisy / (self.sigma**2 + 1) ** 0.5

    def time(self, device: torch.device) -> Tensor:
        """The timestep where the UNet is: given as a number it would be copied there, for which the host waits."""
        return torch.full((), self.timestep, dtype=torch.float64, device=device)

    def clean(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """x - sigma eps: the latent of the picture."""
        return noisy - self.sigma * noise
