"""Pipelines of SD-Turbo and SDXL-Turbo, under 1 MB each; ``channels`` are the VAE's, whose number sets its scale."""

# pyright: reportArgumentType=false, reportCallIssue=false
# diffusers writes tuple[int] for tuple[int, ...], and transformers' configs take more than they declare.

from pathlib import Path
from typing import Any

from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from .shared import clip, clip_tokenizer, kl, randomise, save

TURBO = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}


def sd_turbo(
    to: Path,
    seed: int = 0,
    width: int = 8,
    blocks: int = 2,
    heads: int = 2,
    text_width: int = 8,
    text_length: int = 77,
    channels: tuple[int, ...] = (4, 8),
    scaling_factor: float = 0.18215,
) -> Path:
    """``blocks`` levels of the UNet, all but the last with cross-attention."""
    text = clip(text_width, text_length)
    unet = UNet2DConditionModel(
        **unet_sizes(width, blocks),
        attention_head_dim=heads,
        cross_attention_dim=text_width,
        use_linear_projection=True,
    )
    parts = {"text_encoder": CLIPTextModel(text), "unet": unet, "vae": kl(4, channels, scaling_factor)}
    return save(
        StableDiffusionPipeline(
            **randomise(seed, parts),
            tokenizer=clip_tokenizer(text_length),
            scheduler=EulerDiscreteScheduler(**TURBO),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ),
        to,
    )


def sdxl_turbo(
    to: Path,
    seed: int = 0,
    width: int = 8,
    blocks: int = 2,
    heads: int = 2,
    text_widths: tuple[int, int] = (8, 12),
    text_length: int = 77,
    channels: tuple[int, ...] = (4, 8),
    scaling_factor: float = 0.13025,
    force_upcast: bool = False,
) -> Path:
    """The second text encoder pads with "!", as the published one does."""
    first, second = (clip(one, text_length) for one in text_widths)
    unet = UNet2DConditionModel(
        **unet_sizes(width, blocks),
        attention_head_dim=heads,
        cross_attention_dim=sum(text_widths),
        transformer_layers_per_block=[2] + [1] * (blocks - 1),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=text_widths[1] + 6 * 8,
    )
    parts = {
        "text_encoder": CLIPTextModel(first),
        "text_encoder_2": CLIPTextModelWithProjection(second),
        "unet": unet,
        "vae": kl(4, channels, scaling_factor, force_upcast=force_upcast),
    }
    return save(
        StableDiffusionXLPipeline(
            **randomise(seed, parts),
            tokenizer=clip_tokenizer(text_length),
            tokenizer_2=clip_tokenizer(text_length, pad_token="!"),
            scheduler=EulerAncestralDiscreteScheduler(**TURBO),
        ),
        to,
    )


def unet_sizes(width: int, blocks: int) -> dict[str, Any]:
    """Widths and kinds of a UNet's blocks, for four latent channels."""
    return {
        "in_channels": 4,
        "out_channels": 4,
        "sample_size": 8,
        "block_out_channels": tuple(width * min(level + 1, 2) for level in range(blocks)),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * (blocks - 1) + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (blocks - 1),
    }
