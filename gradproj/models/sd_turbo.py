"""SD-Turbo (arXiv 2311.17042): one Euler step of a distilled Stable Diffusion 2.1, 512 px, N = 16,384."""

from collections.abc import Mapping
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor

from gradproj.pretrained.euler import EulerStep
from gradproj.pretrained.one_step import OneStepModel
from gradproj.types import Latent


class SDTurbo(OneStepModel):
    """diffusers' StableDiffusionPipeline without guidance. Latent (4, resolution / 8, resolution / 8)."""

    kind = StableDiffusionPipeline
    text = ("tokenizer", "text_encoder")
    denoiser = "unet"
    answers = ("encoder_hidden_states", None)

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        self.euler = EulerStep.of(scheduler, config)

    def prompting(self) -> dict[str, Any]:
        return {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}

    def denoise(self, latent: Latent, condition: dict[str, Tensor]) -> Tensor:
        noisy = latent * self.euler.start
        network_input = self.euler.network_input(noisy).to(self.dtype)
        (noise,) = self.network(network_input, self.euler.time(self.device), **condition, return_dict=False)
        return self.euler.clean(noisy, noise.to(latent.dtype))  # x0 = x - sigma eps
