"""SDXL-Turbo (arXiv 2311.17042): one ancestral Euler step of a distilled SDXL, 512 px, N = 16,384."""

from collections.abc import Callable, Sequence

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from torch import Tensor

from gradproj.pretrained import precision
from gradproj.pretrained.embeddings import PromptEmbeddings, parse_device
from gradproj.pretrained.euler import EulerStep
from gradproj.pretrained.layout import latent_side, local_folder
from gradproj.pretrained.recompute import check_policies, recompute
from gradproj.pretrained.source import Source, fetch, load_component
from gradproj.types import Image, Latent, default_device

TEXT = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
PICTURE = ("unet", "vae", "scheduler")
NAMES = ("encoder_hidden_states", None, "text_embeds", None)  # of what encode_prompt answers


class SDXLTurbo:
    """``Model`` on diffusers' StableDiffusionXLPipeline, without guidance. Latent (4, resolution / 8, resolution / 8).

    In float16 the published VAE overflows: ``vae_repo`` stands in for it, except that a local ``repo`` brings its own,
    which then runs in float32 if its configuration says ``force_upcast``, as in the pipeline. The keys are explained in
    configs/model/sdxl_turbo.yaml; what a wrong one raises is a ``UserError``.
    """

    def __init__(
        self,
        repo: str,
        revision: str,
        variant: str | None,
        vae_repo: str | None,
        vae_revision: str,
        resolution: int,
        dtype: str,
        checkpointing: str,
        decoder_checkpointing: str,
        text_encoder_device: str | None,
        cache: str,
        source: Callable[..., Source] = fetch,
    ) -> None:
        self.dtype, self.device = precision.parse(dtype), default_device()
        encoder_device = parse_device(text_encoder_device, self.device)
        check_policies(checkpointing=checkpointing, decoder_checkpointing=decoder_checkpointing)
        self.source = source(repo, revision, variant, StableDiffusionXLPipeline, TEXT + PICTURE)
        self.weights = self.source.weights
        side = latent_side(resolution, 2 ** (len(self.source.config("vae")["block_out_channels"]) - 1))
        ready = {}
        if vae_repo and (local_folder(repo) is None or local_folder(vae_repo)):
            ready["vae"], weights = load_component(AutoencoderKL, vae_repo, vae_revision, self.dtype)
            self.weights = {**self.weights, **weights}
        self.pipeline = self.source.load(PICTURE, self.dtype, self.device, **ready)
        self.unet, self.vae = self.pipeline.unet, self.pipeline.vae
        if self.dtype is torch.float16 and self.vae.config.force_upcast:
            self.vae.float()
        recompute(self.unet, checkpointing)
        recompute(self.vae.decoder, decoder_checkpointing)
        self.euler = EulerStep.of(self.pipeline.scheduler)
        self.latent_shape = (self.unet.config.in_channels, side, side)
        self.size_and_crop = torch.tensor([resolution, resolution, 0, 0, resolution, resolution], device=self.device)
        where = (self.dtype, self.device, encoder_device, cache)
        self.embeddings = PromptEmbeddings(self.source, TEXT, *where, NAMES, do_classifier_free_guidance=False)

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.embeddings.get(prompts)

    def generate(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        gradient_range = precision.GradientRange(self.dtype)
        noisy = gradient_range.enter(latent) * self.euler.start
        (noise,) = self.unet(
            self.euler.network_input(noisy).to(self.dtype),
            self.euler.timestep,
            encoder_hidden_states=condition["encoder_hidden_states"],
            added_cond_kwargs={
                "text_embeds": condition["text_embeds"],
                "time_ids": self.size_and_crop.to(self.dtype).repeat(len(latent), 1),
            },
            return_dict=False,
        )
        clean = self.euler.clean(noisy, noise.to(latent.dtype))  # x0 = x - sigma eps
        (image,) = self.vae.decode((clean / self.vae.config.scaling_factor).to(self.vae.dtype), return_dict=False)
        return self.pipeline.image_processor.denormalize(gradient_range.leave(image.to(latent.dtype)))
