"""Pipelines of FLUX and SANA-Sprint, under 1 MB each; ``channels`` are the VAE's, whose number sets its scale."""

# pyright: reportArgumentType=false, reportCallIssue=false
# diffusers writes tuple[int] for tuple[int, ...], and transformers' configs take more than they declare.

from pathlib import Path

from diffusers import (
    AutoencoderDC,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)
from transformers import CLIPTextModel, Gemma2Config, Gemma2Model, GemmaTokenizer, T5Config, T5EncoderModel

from .shared import LETTERS, clip, clip_tokenizer, gemma_vocabulary, kl, randomise, save, t5_tokenizer


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
