"""FLUX.1-schnell: one Euler step of a rectified flow, 512 px, N = 65,536."""

from collections.abc import Callable, Sequence

import torch
from diffusers import FluxPipeline
from torch import Tensor

from gradproj.errors import UserError
from gradproj.pretrained import precision
from gradproj.pretrained.embeddings import PromptEmbeddings, parse_device
from gradproj.pretrained.layout import latent_side
from gradproj.pretrained.recompute import check_policies, recompute
from gradproj.pretrained.source import Source, fetch
from gradproj.types import Image, Latent, default_device

TEXT = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
PICTURE = ("transformer", "vae", "scheduler")
NAMES = ("encoder_hidden_states", "pooled_projections", None)  # of what encode_prompt answers
REFUSED = {"float16": "FLUX's activations leave its range and the picture is NaN"}


class Flux:
    """``Model`` on diffusers' FluxPipeline, without guidance.

    ``flattening`` says in which order the latent is laid out, which the projection's spectrum sees: ``packed``
    ((resolution / 16)^2, 64), the transformer's tokens, or ``unpacked`` (16, resolution / 8, resolution / 8), the
    decoder's planes. The keys are explained in configs/model/flux.yaml; what a wrong one raises is a ``UserError``.
    """

    def __init__(
        self,
        repo: str,
        revision: str,
        variant: str | None,
        resolution: int,
        dtype: str,
        text_length: int,
        flattening: str,
        checkpointing: str,
        decoder_checkpointing: str,
        text_encoder_device: str | None,
        cache: str,
        source: Callable[..., Source] = fetch,
    ) -> None:
        self.dtype, self.device = precision.parse(dtype, REFUSED), default_device()
        encoder_device = parse_device(text_encoder_device, self.device)
        check_policies(checkpointing=checkpointing, decoder_checkpointing=decoder_checkpointing)
        if flattening not in ("packed", "unpacked"):
            raise UserError(f"flattening must be packed or unpacked, got {flattening!r}: type model.flattening=packed")
        if not 0 < text_length <= 512:
            raise UserError(f"text_length must be 1 to 512 tokens, got {text_length}: type model.text_length=256")
        self.source = source(repo, revision, variant, FluxPipeline, TEXT + PICTURE)
        self.weights = self.source.weights
        if self.source.config("transformer")["guidance_embeds"]:
            raise UserError(f"{repo} wants a guidance scale, as FLUX.1-dev: use one without, such as FLUX.1-schnell")
        scale = 2 ** (len(self.source.config("vae")["block_out_channels"]) - 1)
        side = latent_side(resolution, 2 * scale)  # in tokens, each of 2 x 2 latent pixels
        self.pipeline = self.source.load(PICTURE, self.dtype, self.device)
        self.transformer, self.vae = self.pipeline.transformer, self.pipeline.vae
        recompute(self.transformer, checkpointing)
        recompute(self.vae.decoder, decoder_checkpointing)
        channels = self.transformer.config.in_channels
        packed, unpacked = (side**2, channels), (channels // 4, 2 * side, 2 * side)
        self.latent_shape = packed if flattening == "packed" else unpacked
        self.resolution, self.side, self.text_length, self.flattening = resolution, side, text_length, flattening
        where = (self.dtype, self.device, encoder_device, cache)
        settings = {"prompt_2": None, "max_sequence_length": text_length}
        self.embeddings = PromptEmbeddings(self.source, TEXT, *where, NAMES, **settings)

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.embeddings.get(prompts)

    def generate(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        side, pipeline = self.side, self.pipeline
        if self.flattening == "unpacked":
            latent = pipeline._pack_latents(latent, len(latent), latent.shape[1], 2 * side, 2 * side)
        (velocity,) = self.transformer(
            hidden_states=latent.to(self.dtype),
            timestep=torch.ones(len(latent), dtype=self.dtype, device=self.device),
            **condition,
            txt_ids=torch.zeros(self.text_length, 3, dtype=self.dtype, device=self.device),
            img_ids=pipeline._prepare_latent_image_ids(1, side, side, self.device, self.dtype),
            return_dict=False,
        )
        clean = latent - velocity.to(latent.dtype)  # x0 = x - v, from sigma 1 to 0
        clean = pipeline._unpack_latents(clean, self.resolution, self.resolution, pipeline.vae_scale_factor)
        clean = clean / self.vae.config.scaling_factor + self.vae.config.shift_factor
        (image,) = self.vae.decode(clean.to(self.dtype), return_dict=False)
        return pipeline.image_processor.denormalize(image.to(latent.dtype))
