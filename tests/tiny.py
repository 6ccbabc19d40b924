"""Pipelines of the published classes, schedulers and settings, a few channels wide, random weights: under 1 MB each.

Every builder saves one ``to`` a folder and returns it. ``channels`` are the VAE's: their number sets its scale factor.
``CASES`` names some of them; ``folder`` and ``model`` make each once per test run, ``build`` a new model at each call.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
# diffusers writes tuple[int] for tuple[int, ...], and transformers' configs take more than they declare.

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from conftest import CONFIGS
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tiny_rewards import changed
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

TURBO = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
LETTERS = sorted(ByteLevel.alphabet())


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


def flux(
    to: Path,
    seed: int = 0,
    rope: tuple[int, int, int] = (2, 4, 4),
    heads: int = 2,
    double: int = 1,
    single: int = 1,
    text_width: int = 8,
    channels: tuple[int, ...] = (4, 8),
    latent_channels: int = 4,
    scaling_factor: float = 0.3611,
    shift_factor: float = 0.1159,
) -> Path:
    """``double`` and ``single`` blocks; ``rope`` adds up to the width of a head."""
    transformer = FluxTransformer2DModel(
        in_channels=4 * latent_channels,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=sum(rope),
        num_attention_heads=heads,
        joint_attention_dim=text_width,
        pooled_projection_dim=12,
        guidance_embeds=False,
        axes_dims_rope=rope,
    )
    t5 = T5Config(
        vocab_size=len(LETTERS) + 8,
        d_model=text_width,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        tie_word_embeddings=False,
    )
    parts = {
        "text_encoder": CLIPTextModel(clip(12, 77)),
        "text_encoder_2": T5EncoderModel(t5),
        "transformer": transformer,
        "vae": kl(
            latent_channels,
            channels,
            scaling_factor,
            shift_factor=shift_factor,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
    }
    return save(
        FluxPipeline(
            **randomise(seed, parts),
            tokenizer=clip_tokenizer(77),
            tokenizer_2=t5_tokenizer(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        ),
        to,
    )


def sana_sprint(
    to: Path,
    seed: int = 0,
    heads: int = 2,
    head_width: int = 8,
    layers: int = 1,
    text_width: int = 8,
    channels: tuple[int, ...] = (8, 8, 16),
    latent_channels: int = 4,
    scaling_factor: float = 0.41407,
    guidance_embeds_scale: float = 0.1,
) -> Path:
    """The last level of the autoencoder has linear attention, the others are convolutions."""
    transformer = SanaTransformer2DModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_attention_heads=heads,
        attention_head_dim=head_width,
        num_layers=layers,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=head_width,
        cross_attention_dim=heads * head_width,
        caption_channels=text_width,
        sample_size=32,
        guidance_embeds=True,
        guidance_embeds_scale=guidance_embeds_scale,
        qk_norm="rms_norm_across_heads",
        timestep_scale=1.0,
    )
    gemma = Gemma2Config(
        vocab_size=len(gemma_vocabulary()),
        hidden_size=text_width,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        sliding_window=4096,
    )
    kinds = ("ResBlock",) * (len(channels) - 1) + ("EfficientViTBlock",)
    scales = ((),) * (len(channels) - 1) + ((5,),)
    vae = AutoencoderDC(
        latent_channels=latent_channels,
        attention_head_dim=8,
        encoder_block_types=kinds,
        decoder_block_types=kinds,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_layers_per_block=(1,) * len(channels),
        decoder_layers_per_block=(1,) * len(channels),
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        upsample_block_type="interpolate",
        downsample_block_type="Conv",
        scaling_factor=scaling_factor,
    )
    return save(
        SanaSprintPipeline(
            **randomise(seed, {"text_encoder": Gemma2Model(gemma), "transformer": transformer, "vae": vae}),
            tokenizer=GemmaTokenizer(vocab=gemma_vocabulary(), merges=[], add_bos_token=True),
            scheduler=SCMScheduler(prediction_type="trigflow", sigma_data=0.5),
        ),
        to,
    )


BUILDERS = {"sd_turbo": sd_turbo, "sdxl_turbo": sdxl_turbo, "flux": flux, "sana_sprint": sana_sprint}
SIZES = {"sd_turbo": (16, 32), "sdxl_turbo": (16, 32), "flux": (16, 32), "sana_sprint": (32, 64)}  # pixels a side
VARIATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "sd_turbo": {
        "plain": {},
        "deep": {"seed": 1, "blocks": 3, "heads": 4, "channels": (4, 4, 8), "scaling_factor": 0.3},
        "short": {"seed": 2, "width": 12, "heads": 3, "text_width": 12, "text_length": 20, "channels": (8,)},
    },
    "sdxl_turbo": {
        "plain": {},
        "deep": {"seed": 1, "blocks": 3, "heads": 4, "channels": (4, 4, 8), "scaling_factor": 0.2},
        "short": {"seed": 2, "width": 12, "heads": 3, "text_widths": (12, 8), "text_length": 20, "channels": (8,)},
        "upcast": {"seed": 3, "force_upcast": True},
    },
    "flux": {
        "plain": {},
        "deep": {"seed": 1, "double": 2, "single": 3, "channels": (4, 4, 8), "shift_factor": -0.5},
        "wide": {
            "seed": 2,
            "rope": (4, 6, 6),
            "heads": 3,
            "text_width": 12,
            "latent_channels": 8,
            "scaling_factor": 0.9,
        },
    },
    "sana_sprint": {
        "plain": {},
        "deep": {"seed": 1, "layers": 3, "channels": (8, 8, 16, 32), "scaling_factor": 0.8},
        "wide": {"seed": 2, "heads": 3, "head_width": 16, "text_width": 12, "guidance_embeds_scale": 0.3},
    },
}
CASES = {f"{name}-{variation}": name for name, variations in VARIATIONS.items() for variation in variations}
PLAIN = [f"{name}-plain" for name in BUILDERS]


@cache
def home() -> tempfile.TemporaryDirectory[str]:
    """Where the pipelines and the prompt embeddings of this test run are; removed at its end."""
    return tempfile.TemporaryDirectory()


@cache
def folder(case: str) -> Path:
    """The saved pipeline of one of ``CASES``."""
    name, variation = case.split("-")
    return BUILDERS[name](Path(home().name) / case, **VARIATIONS[name][variation])


@cache
def composed(name: str) -> DictConfig:
    """What ``gradproj-run model=name`` is given to make the model of."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", [f"model={name}"]).model


def build(case: str, **settings: Any) -> Any:
    """The model that ``gradproj-run model=... model.key=value`` would make: float32, the smaller size, if not told."""
    told = {"repo": folder(case), "resolution": SIZES[CASES[case]][0], "dtype": "float32"}
    told |= {"cache": f"{home().name}/prompts"} | settings
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in told.items()}
    return instantiate(changed(OmegaConf.to_container(composed(CASES[case]), resolve=True), plain))  # type: ignore[arg-type]


model = cache(build)


def random_latent(model: Any, batch: int, seed: int = 0) -> torch.Tensor:
    """N(0, 1), float32, on the model's device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *model.latent_shape, generator=generator).to(model.device)


# What they share


def clip(width: int, length: int) -> CLIPTextConfig:
    """For ``clip_tokenizer(length)``."""
    tokens = clip_tokenizer(length)
    return CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        max_position_embeddings=length,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def clip_tokenizer(length: int, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """A token a byte, and nothing merged."""
    vocabulary = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    numbered = {piece: number for number, piece in enumerate(vocabulary)}
    return CLIPTokenizer(vocab=numbered, merges=[], model_max_length=length, pad_token=pad_token)


def t5_tokenizer() -> T5Tokenizer:
    """A token a letter; others are unknown."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces = [*special, *((letter, -3.0) for letter in LETTERS if letter != "▁")]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def gemma_vocabulary() -> dict[str, int]:
    """A token a letter of ASCII, and a token a byte of what is not."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
    return {piece: number for number, piece in enumerate(pieces)}


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


def kl(latent_channels: int, channels: tuple[int, ...], scaling_factor: float, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=latent_channels,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=scaling_factor,
        **more,
    )


def randomise(seed: int, parts: dict[str, nn.Module]) -> dict[str, Any]:
    """Parts in which nothing is nought, so that everything matters; pictures stay well inside [0, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size, scale: float) -> torch.Tensor:
        return scale * torch.randn(shape, generator=generator)

    with torch.no_grad():
        for module in (module for part in parts.values() for module in part.modules()):
            for name, value in module.named_parameters(recurse=False):
                if isinstance(module, nn.Embedding):
                    value.copy_(normal(value.shape, 1))
                elif value.ndim > 1:
                    value.copy_(normal(value.shape, (2 / value[0].numel()) ** 0.5))
                else:
                    value.copy_((name == "weight") + normal(value.shape, 0.1))
        last: Any = parts["vae"]
        last.decoder.conv_out.weight.mul_(0.1)
    return parts


def save(pipeline: Any, to: Path) -> Path:
    pipeline.save_pretrained(to, safe_serialization=True)
    return to
