"""SANA-Sprint (arXiv 2503.09641): one step of a continuous-time consistency model, 1024 px, N = 32,768."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from math import cos, sin, sqrt
from typing import Any, Literal

import torch
from diffusers import SanaSprintPipeline, SCMScheduler
from torch import Tensor, nn

from gradproj.errors import UserError
from gradproj.pretrained.nodes import PipelineMemory, PipelineSource
from gradproj.pretrained.one_step import OneStepModel, Resolution
from gradproj.pretrained.tiny_decoder import Decoder
from gradproj.types import Latent

DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(SanaSprintPipeline.__call__).parameters.items()
}


class SanaSprint(OneStepModel):
    """diffusers' SanaSprintPipeline with ``guidance_scale``. Latent (32, resolution / 32, resolution / 32).

    Largest timestep, text length and the instruction before each prompt are the pipeline's own defaults; ``weights``
    has their hash, so that a diffusers with others makes another run. There is no float16: the text encoder, Gemma 2,
    wants bfloat16, and its activations leave float16's range.
    """

    kind = SanaSprintPipeline
    text = ("tokenizer", "text_encoder")
    denoiser = "transformer"
    answers = ("encoder_hidden_states", "encoder_attention_mask")
    vae_levels = "encoder_block_out_channels"

    def __init__(
        self,
        resolution: Resolution,
        dtype: Literal["bfloat16", "float32", "float64"],
        guidance_scale: float,
        source: PipelineSource,
        memory: PipelineMemory,
        decoder: Decoder = "full",
    ) -> None:
        self.guidance_scale = guidance_scale
        super().__init__(resolution, dtype, source, memory, decoder)
        defaults = json.dumps([DEFAULTS["max_timesteps"], self.prompting()], sort_keys=True)
        self.weights["defaults of SanaSprintPipeline"] = hashlib.sha256(defaults.encode()).hexdigest()

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        if not config.get("guidance_embeds"):
            raise UserError("the transformer takes no guidance (plain SANA's does not): use SANA-Sprint's kind")
        if not isinstance(scheduler, SCMScheduler) or scheduler.config["prediction_type"] != "trigflow":
            raise UserError(
                f"expected an SCMScheduler with prediction_type trigflow, got {type(scheduler).__name__} "
                f"{dict(scheduler.config)}: use SANA-Sprint's"
            )
        scheduler.set_timesteps(1, max_timesteps=DEFAULTS["max_timesteps"], intermediate_timesteps=None)
        self.angle = float(scheduler.timesteps[0])

    def prompting(self) -> dict[str, Any]:
        return {name: DEFAULTS[name] for name in ("clean_caption", "max_sequence_length", "complex_human_instruction")}

    def calling(self, latent: Latent) -> dict[str, Any]:
        told = {"use_resolution_binning": False, "intermediate_timesteps": None}
        return {**super().calling(latent), "guidance_scale": self.guidance_scale, **told}

    def decoder_blocks(self, decoder: Any) -> list[nn.Module]:
        return [block for stage in decoder.up_blocks for block in stage]

    def denoise(self, latent: Latent, condition: dict[str, Tensor]) -> Tensor:
        t = self.angle  # latent is N(0, 1); the trigonometric flow's x is sigma_data times it
        s = sin(t) / (cos(t) + sin(t))
        norm = sqrt(s**2 + (1 - s) ** 2)
        guidance = self.guidance_scale * self.network.config.guidance_embeds_scale
        (output,) = self.network(
            (latent * norm).to(self.dtype),
            **condition,
            guidance=torch.full((len(latent),), guidance, dtype=self.dtype, device=self.device),
            timestep=torch.full((len(latent),), s, device=self.device),
            return_dict=False,
        )
        flow = ((1 - 2 * s) * (latent * norm) + (1 - 2 * s + 2 * s**2) * output.to(latent.dtype)) / norm  # F
        return cos(t) * latent - sin(t) * flow  # x0 / sigma_data: sigma_data divides out
