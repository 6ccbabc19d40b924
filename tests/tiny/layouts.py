"""The names and shapes of the weights in the published rewards' files, and random numbers for them.

``TINY`` sizes take milliseconds; ``FULL`` ones are those of the published networks (up to 3.9 GB each).
"""

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .inputs import SEED

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Half:
    """One transformer: ``heads`` of width / heads each."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Sizes:
    """``embedding`` is CLIP's; BLIP's text half is a BERT of ``words`` words."""

    vision: Half
    text: Half
    embedding: int
    image: int
    patch: int
    words: int
    activation: str = "gelu"


TINY_HALF = Half(64, 2, 1)
TINY = {
    "aesthetic": Sizes(TINY_HALF, TINY_HALF, 32, 224, 32, 49408, "quick_gelu"),
    "pickscore": Sizes(TINY_HALF, Half(32, 2, 2), 32, 224, 32, 49408),
    "clip": Sizes(Half(64, 2, 2), Half(32, 2, 2), 48, 224, 32, 49408),
    "hpsv2": Sizes(Half(64, 2, 2), Half(32, 2, 2), 32, 224, 32, 49408),
    "imagereward": Sizes(Half(128, 2, 2), Half(64, 2, 4), 16, 224, 32, 700),
}
HUGE = Sizes(Half(1280, 32, 16), Half(1024, 24, 16), 1024, 224, 14, 49408)
FULL = {
    "aesthetic": Sizes(Half(1024, 24, 16), Half(768, 12, 12), 768, 224, 14, 49408, "quick_gelu"),
    "pickscore": HUGE,
    "clip": HUGE,
    "hpsv2": HUGE,
    "imagereward": Sizes(Half(1024, 24, 16), Half(768, 12, 12), 256, 224, 16, 30522),
}


def small(image: int = 32, patch: int = 8) -> dict[str, Sizes]:
    """TINY with another square input."""
    return {name: Sizes(**{**vars(sizes), "image": image, "patch": patch}) for name, sizes in TINY.items()}


def draw(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Random weights that let every part matter: each from the seed and its own name, by numpy."""
    return {name: torch.from_numpy(_draw_one(name, shape, seed)) for name, shape in shapes.items()}


def _draw_one(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    values = generator.standard_normal(shape, dtype=np.float32)
    if name == "logit_scale":
        return np.asarray(np.log(100.0), dtype=np.float32)
    if name.endswith("bias"):
        return np.float32(0.1) * values
    if len(shape) == 1 and name.endswith("weight"):  # a layer norm
        return np.float32(1) + np.float32(0.1) * values
    if ("embed" in name and "proj" not in name and "patch" not in name) or "cls_token" in name:
        return np.float32(0.5) * values
    fan_in = shape[0] if name.endswith("projection") or name == "visual.proj" else int(np.prod(shape[1:]))
    return np.float32(1.5 / fan_in**0.5) * values


def _linear(name: str, out: int, inner: int) -> Shapes:
    return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def head(width: int, prefix: str = "") -> Shapes:
    widths = {0: (1024, width), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    shapes: Shapes = {}
    for index, (out, inner) in widths.items():
        shapes |= _linear(f"{prefix}layers.{index}", out, inner)
    return shapes


def _clip_half(prefix: str, half: Half) -> Shapes:
    shapes: Shapes = {}
    for block in (f"{prefix}.encoder.layers.{index}" for index in range(half.layers)):
        for part in "kvq":
            shapes |= _linear(f"{block}.self_attn.{part}_proj", half.width, half.width)
        shapes |= _linear(f"{block}.self_attn.out_proj", half.width, half.width)
        shapes |= _norm(f"{block}.layer_norm1", half.width) | _norm(f"{block}.layer_norm2", half.width)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * half.width, half.width)
        shapes |= _linear(f"{block}.mlp.fc2", half.width, 4 * half.width)
    return shapes


def clip_shapes(sizes: Sizes) -> Shapes:
    """transformers' layout, as published."""
    vision, text, patches = sizes.vision, sizes.text, (sizes.image // sizes.patch) ** 2
    return {
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (sizes.words, text.width),
        "text_model.embeddings.position_embedding.weight": (77, text.width),
        **_clip_half("text_model", text),
        **_norm("text_model.final_layer_norm", text.width),
        "vision_model.embeddings.class_embedding": (vision.width,),
        "vision_model.embeddings.patch_embedding.weight": (vision.width, 3, sizes.patch, sizes.patch),
        "vision_model.embeddings.position_embedding.weight": (patches + 1, vision.width),
        **_norm("vision_model.pre_layrnorm", vision.width),
        **_clip_half("vision_model", vision),
        **_norm("vision_model.post_layernorm", vision.width),
        "visual_projection.weight": (sizes.embedding, vision.width),
        "text_projection.weight": (sizes.embedding, text.width),
    }


def _open_clip_blocks(prefix: str, half: Half) -> Shapes:
    shapes: Shapes = {}
    for block in (f"{prefix}.resblocks.{index}" for index in range(half.layers)):
        shapes |= _norm(f"{block}.ln_1", half.width) | _norm(f"{block}.ln_2", half.width)
        shapes |= {f"{block}.attn.in_proj_weight": (3 * half.width, half.width)}
        shapes |= {f"{block}.attn.in_proj_bias": (3 * half.width,)}
        shapes |= _linear(f"{block}.attn.out_proj", half.width, half.width)
        shapes |= _linear(f"{block}.mlp.c_fc", 4 * half.width, half.width)
        shapes |= _linear(f"{block}.mlp.c_proj", half.width, 4 * half.width)
    return shapes


def open_clip_shapes(sizes: Sizes) -> Shapes:
    """open_clip's layout, as published for HPS v2."""
    vision, text, patches = sizes.vision, sizes.text, (sizes.image // sizes.patch) ** 2
    return {
        "positional_embedding": (77, text.width),
        "text_projection": (text.width, sizes.embedding),
        "logit_scale": (),
        "visual.class_embedding": (vision.width,),
        "visual.positional_embedding": (patches + 1, vision.width),
        "visual.proj": (vision.width, sizes.embedding),
        "visual.conv1.weight": (vision.width, 3, sizes.patch, sizes.patch),
        **_norm("visual.ln_pre", vision.width),
        **_open_clip_blocks("visual.transformer", vision),
        **_norm("visual.ln_post", vision.width),
        **_open_clip_blocks("transformer", text),
        "token_embedding.weight": (sizes.words, text.width),
        **_norm("ln_final", text.width),
    }


def blip_shapes(sizes: Sizes) -> Shapes:
    """ImageReward's layout, as published."""
    vision, text, patches = sizes.vision, sizes.text, (sizes.image // sizes.patch) ** 2
    shapes: Shapes = {
        "blip.visual_encoder.cls_token": (1, 1, vision.width),
        "blip.visual_encoder.pos_embed": (1, patches + 1, vision.width),
        "blip.visual_encoder.patch_embed.proj.weight": (vision.width, 3, sizes.patch, sizes.patch),
        "blip.visual_encoder.patch_embed.proj.bias": (vision.width,),
    }
    for block in (f"blip.visual_encoder.blocks.{index}" for index in range(vision.layers)):
        shapes |= _norm(f"{block}.norm1", vision.width) | _norm(f"{block}.norm2", vision.width)
        shapes |= _linear(f"{block}.attn.qkv", 3 * vision.width, vision.width)
        shapes |= _linear(f"{block}.attn.proj", vision.width, vision.width)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * vision.width, vision.width)
        shapes |= _linear(f"{block}.mlp.fc2", vision.width, 4 * vision.width)
    shapes |= _norm("blip.visual_encoder.norm", vision.width)
    encoder = "blip.text_encoder"
    shapes |= {f"{encoder}.embeddings.word_embeddings.weight": (sizes.words + 2, text.width)}
    shapes |= {f"{encoder}.embeddings.position_embeddings.weight": (512, text.width)}
    shapes |= _norm(f"{encoder}.embeddings.LayerNorm", text.width)
    for block in (f"{encoder}.encoder.layer.{index}" for index in range(text.layers)):
        for attention, seen in (("attention", text.width), ("crossattention", vision.width)):
            for part, inner in (("query", text.width), ("key", seen), ("value", seen)):
                shapes |= _linear(f"{block}.{attention}.self.{part}", text.width, inner)
            shapes |= _linear(f"{block}.{attention}.output.dense", text.width, text.width)
            shapes |= _norm(f"{block}.{attention}.output.LayerNorm", text.width)
        shapes |= _linear(f"{block}.intermediate.dense", 4 * text.width, text.width)
        shapes |= _linear(f"{block}.output.dense", text.width, 4 * text.width)
        shapes |= _norm(f"{block}.output.LayerNorm", text.width)
    projections = _linear("blip.vision_proj", 256, vision.width) | _linear("blip.text_proj", 256, text.width)
    return shapes | projections | head(text.width, "mlp.")


def digest() -> str:
    """Changes with numpy's random numbers, on which the committed reference scores rest."""
    content = b"".join(value.numpy().tobytes() for value in draw(head(16), SEED).values())
    return hashlib.sha256(content).hexdigest()
