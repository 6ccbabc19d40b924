"""SDXL-Turbo (arXiv 2311.17042): one ancestral Euler step of a distilled SDXL, 512 px, N = 16,384."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from torch import Tensor

from gradproj.pretrained.component import Component, fetch_component
from gradproj.pretrained.euler import EulerStep
from gradproj.pretrained.nodes import PipelineMemory, PipelineSource, Text
from gradproj.pretrained.one_step import Dtype, OneStepModel, Resolution
from gradproj.pretrained.tiny_decoder import Decoder
from gradproj.types import Latent

PUBLISHED, FIXED_VAE = "stabilityai/sdxl-turbo", "madebyollin/sdxl-vae-fp16-fix"


@dataclass(frozen=True, kw_only=True)
class SDXLSource(PipelineSource):
    """``vae_repo``: see SDXLTurbo."""

    vae_repo: Text | None
    vae_revision: Text


class SDXLTurbo(OneStepModel):
    """diffusers' StableDiffusionXLPipeline without guidance. Latent (4, resolution / 8, resolution / 8).

    ``source.vae_repo`` is a VAE in place of the pipeline's: a hub id at ``vae_revision``, a folder, None for the
    pipeline's own, or ``auto``: the fixed one for the published repository, whose own overflows in float16, else the
    own one.
    A VAE whose configuration says ``force_upcast`` runs in float32 where the rest runs in float16, as in the pipeline.
    """

    kind = StableDiffusionXLPipeline
    text = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    denoiser = "unet"
    answers = ("encoder_hidden_states", None, "text_embeds", None)

    def __init__(
        self,
        resolution: Resolution,
        dtype: Dtype,
        source: SDXLSource,
        memory: PipelineMemory,
        decoder: Decoder = "full",
    ) -> None:
        super().__init__(resolution, dtype, source, memory, decoder)
        size = [resolution, resolution]
        self.size_and_crop = torch.tensor([*size, 0, 0, *size], dtype=self.dtype, device=self.device)

    def find_replacement(self, source: SDXLSource) -> Callable[[], Component] | None:
        vae = source.vae_repo
        if vae == "auto":
            vae = FIXED_VAE if source.repo == PUBLISHED else None
        key = "model.source.vae_repo"
        return partial(fetch_component, AutoencoderKL, vae, source.vae_revision, key) if vae else None

    @cached_property
    def pipeline(self) -> Any:
        pipeline = super().pipeline
        if self.dtype is torch.float16 and pipeline.vae.config.force_upcast:
            pipeline.vae.float()
        return pipeline

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        self.euler = EulerStep.of(scheduler, config)

    def prompting(self) -> dict[str, Any]:
        return {"do_classifier_free_guidance": False}

    def denoise(self, latent: Latent, condition: dict[str, Tensor]) -> Tensor:
        noisy = latent * self.euler.start
        (noise,) = self.network(
            self.euler.network_input(noisy).to(self.dtype),
            self.euler.time(self.device),
            encoder_hidden_states=condition["encoder_hidden_states"],
            added_cond_kwargs={
                "text_embeds": condition["text_embeds"],
                "time_ids": self.size_and_crop.repeat(len(latent), 1),
            },
            return_dict=False,
        )
        return self.euler.clean(noisy, noise.to(latent.dtype))  # x0 = x - sigma eps

    def unscaled(self, clean: Tensor, config: Any) -> Tensor:
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            return clean / config.scaling_factor
        mean, std = (
            clean.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (config.latents_mean, config.latents_std)
        )
        return clean * std / config.scaling_factor + mean
