"""FLUX.1-schnell: one Euler step of a rectified flow, 512 px, N = 65,536."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch import Tensor

from gradproj.errors import UserError
from gradproj.pretrained.nodes import PipelineMemory, PipelineSource
from gradproj.pretrained.one_step import OneStepModel, Resolution
from gradproj.pretrained.quantized import Quantization, check_quantization
from gradproj.pretrained.tiny_decoder import Decoder
from gradproj.types import Latent


class Flux(OneStepModel):
    """diffusers' FluxPipeline without guidance; ``text_length`` counts the T5 text encoder's tokens.

    ``flattening`` says in which order the latent is laid out, which the projection's spectrum sees: ``packed``
    ((resolution / 16)^2, 64), the transformer's tokens, or ``unpacked`` (16, resolution / 8, resolution / 8), the
    decoder's planes. ``quantization`` is how the weights of the transformer and of T5 are stored, which changes the
    picture a little (``pretrained.quantized``).
    There is no float16: FLUX's activations leave its range, and the picture is NaN.
    """

    kind = FluxPipeline
    text = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    denoiser = "transformer"
    large = ("transformer", "text_encoder_2")
    answers = ("encoder_hidden_states", "pooled_projections", None)
    patch = 2

    def __init__(
        self,
        resolution: Resolution,
        dtype: Literal["bfloat16", "float32", "float64"],
        text_length: Annotated[int, Ge(1), Le(512)],
        flattening: Literal["packed", "unpacked"],
        source: PipelineSource,
        memory: PipelineMemory,
        quantization: Quantization = "none",  # runs from before there was another have none in their config.yaml
        decoder: Decoder = "full",
    ) -> None:
        check_quantization(quantization, dtype)
        self.text_length, self.flattening, self.quantization = text_length, flattening, quantization
        super().__init__(resolution, dtype, source, memory, decoder)
        channels, side = self.latent_shape[0], self.side
        packed, unpacked = (side**2, channels), (channels // 4, 2 * side, 2 * side)
        self.latent_shape = packed if flattening == "packed" else unpacked

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        if config.get("guidance_embeds"):
            raise UserError("the transformer wants a guidance scale (FLUX.1-dev's does): use FLUX.1-schnell's kind")
        step: list[float] = []
        if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            scheduler.set_timesteps(sigmas=[1.0], mu=1.0)  # at 1 no shift of the schedule moves it
            step = torch.cat([torch.as_tensor(scheduler.sigmas), torch.as_tensor(scheduler.timesteps)]).tolist()
        if step != [1, 0, 1000]:
            raise UserError(
                "expected a FlowMatchEulerDiscreteScheduler whose one step goes from 1 to 0, got "
                f"{type(scheduler).__name__} {dict(scheduler.config)}: use FLUX.1-schnell's"
            )

    def prompting(self) -> dict[str, Any]:
        return {"prompt_2": None, "max_sequence_length": self.text_length}

    def calling(self, latent: Latent) -> dict[str, Any]:
        if self.flattening == "unpacked":
            latent = FluxPipeline._pack_latents(latent, *latent.shape)
        return {**super().calling(latent), "max_sequence_length": self.text_length}

    @cached_property
    def places(self) -> Tensor:
        """Where each token is, (tokens, 3), kept on the device: the host waits for a copy."""
        return self.pipeline._prepare_latent_image_ids(1, self.side, self.side, self.device, self.dtype)

    def denoise(self, latent: Latent, condition: dict[str, Tensor]) -> Tensor:
        side, pipeline = self.side, self.pipeline
        if self.flattening == "unpacked":
            latent = pipeline._pack_latents(latent, len(latent), latent.shape[1], 2 * side, 2 * side)
        (velocity,) = self.network(
            hidden_states=latent.to(self.dtype),
            timestep=torch.ones(len(latent), dtype=self.dtype, device=self.device),
            **condition,
            txt_ids=torch.zeros(self.text_length, 3, dtype=self.dtype, device=self.device),
            img_ids=self.places,
            return_dict=False,
        )
        clean = latent - velocity.to(latent.dtype)  # x0 = x - v
        return pipeline._unpack_latents(clean, self.resolution, self.resolution, self.scale)

    def unscaled(self, clean: Tensor, config: Any) -> Tensor:
        return clean / config.scaling_factor + config.shift_factor
