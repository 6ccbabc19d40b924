"""SANA-Sprint (arXiv 2503.09641): one step of a continuous-time consistency model, 1024 px, N = 32,768."""

import inspect
from collections.abc import Callable, Sequence
from math import cos, sin, sqrt

import torch
from diffusers import SanaSprintPipeline
from torch import Tensor

from gradproj.pretrained import precision
from gradproj.pretrained.embeddings import PromptEmbeddings, parse_device
from gradproj.pretrained.layout import latent_side
from gradproj.pretrained.recompute import check_policies, recompute
from gradproj.pretrained.source import Source, fetch
from gradproj.types import Image, Latent, default_device

TEXT = ("tokenizer", "text_encoder")
PICTURE = ("transformer", "vae", "scheduler")
NAMES = ("encoder_hidden_states", "encoder_attention_mask")  # of what encode_prompt answers
DEFAULTS = {name: one.default for name, one in inspect.signature(SanaSprintPipeline.__call__).parameters.items()}
PROMPTING = {name: DEFAULTS[name] for name in ("clean_caption", "max_sequence_length", "complex_human_instruction")}


class SanaSprint:
    """``Model`` on diffusers' SanaSprintPipeline. Latent (32, resolution / 32, resolution / 32).

    Guidance, largest timestep, text length and the instruction before each prompt are the pipeline's own defaults. The
    keys are explained in configs/model/sana_sprint.yaml; what a wrong one raises is a ``UserError``.
    """

    def __init__(
        self,
        repo: str,
        revision: str,
        variant: str | None,
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
        self.source = source(repo, revision, variant, SanaSprintPipeline, TEXT + PICTURE)
        self.weights = self.source.weights
        side = latent_side(resolution, 2 ** (len(self.source.config("vae")["encoder_block_out_channels"]) - 1))
        self.pipeline = self.source.load(PICTURE, self.dtype, self.device)
        self.transformer, self.vae = self.pipeline.transformer, self.pipeline.vae
        recompute(self.transformer, checkpointing)
        blocks = [block for stage in self.vae.decoder.up_blocks for block in stage]  # DC-AE does not know its own
        recompute(self.vae.decoder, decoder_checkpointing, blocks)
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(1, max_timesteps=DEFAULTS["max_timesteps"], intermediate_timesteps=None)
        self.angle = float(scheduler.timesteps[0])
        self.latent_shape = (self.transformer.config.in_channels, side, side)
        where = (self.dtype, self.device, encoder_device, cache)
        self.embeddings = PromptEmbeddings(self.source, TEXT, *where, NAMES, **PROMPTING)

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.embeddings.get(prompts)

    def generate(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        gradient_range = precision.GradientRange(self.dtype)
        latent = gradient_range.enter(latent)  # N(0, 1); the trigonometric flow's x is sigma_data times it
        t = self.angle
        s = sin(t) / (cos(t) + sin(t))
        norm = sqrt(s**2 + (1 - s) ** 2)
        scale = DEFAULTS["guidance_scale"] * self.transformer.config.guidance_embeds_scale
        (output,) = self.transformer(
            (latent * norm).to(self.dtype),
            **condition,
            guidance=torch.full((len(latent),), scale, dtype=self.dtype, device=self.device),
            timestep=torch.full((len(latent),), s, device=self.device),
            return_dict=False,
        )
        flow = ((1 - 2 * s) * (latent * norm) + (1 - 2 * s + 2 * s**2) * output.to(latent.dtype)) / norm  # F
        clean = cos(t) * latent - sin(t) * flow  # x0 / sigma_data: sigma_data divides out
        (image,) = self.vae.decode((clean / self.vae.config.scaling_factor).to(self.dtype), return_dict=False)
        return self.pipeline.image_processor.denormalize(gradient_range.leave(image.to(latent.dtype)))
