"""What the tiny pipelines share: tokenizers, text encoders, decoders, random weights."""

# pyright: reportArgumentType=false, reportCallIssue=false
# diffusers writes tuple[int] for tuple[int, ...], and transformers' configs take more than they declare.

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTokenizer, T5Tokenizer

LETTERS = sorted(ByteLevel.alphabet())


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


def small_decoder(
    to: Path, latent_channels: int = 4, levels: int = 2, width: int = 4, blocks: int = 1, seed: int = 0
) -> Path:
    """An AutoencoderTiny with random weights, ``blocks`` at each of its ``levels``, saved in its published layout.

    Its pictures stay in [0, 1].
    """
    widths, depths = (width,) * levels, (blocks,) * levels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            num_encoder_blocks=depths,
            num_decoder_blocks=depths,
        )
    with torch.no_grad():
        network.decoder.layers[-1].weight.mul_(0.3)
        network.decoder.layers[-1].bias.fill_(0.5)
    network.save_pretrained(to, safe_serialization=True)
    return to


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
