"""Counts what stands beside a generator on the meta device: the rewards, and the text encoders, at their real sizes."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import open_clip
import torch
from torch import Tensor, nn
from transformers import (
    BlipTextConfig,
    BlipVisionConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    T5Config,
    T5EncoderModel,
    masking_utils,
)

from gradproj.pretrained.blip import BlipReward
from gradproj.pretrained.clip_tower import TEXT
from gradproj.pretrained.score_head import ScoreHead
from gradproj.rewards import hpsv2
from gradproj.rewards.aesthetic import Aesthetic
from gradproj.rewards.clip import Clip
from gradproj.rewards.imagereward import LENGTH, ImageReward
from gradproj.rewards.pickscore import PickScore

from .build import parameters
from .count import Live
from .kernels import gpu_kernels

META, SIDE = torch.device("meta"), 512  # pixels of the picture that is judged
Row = dict[str, Any]  # the sizes below are those of the published config.json files
HUGE: Row = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120}
LARGE: Row = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
TEXT_G: Row = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120}
TEXT_L: Row = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
GEMMA: Row = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "intermediate_size": 9216,
    "head_dim": 256,
}
GEMMA |= {"num_attention_heads": 8, "num_key_value_heads": 4}
T5: Row = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}

TEXT_ENCODERS: Mapping[str, tuple[Callable[[], nn.Module], ...]] = {  # of configs/model's pipelines
    "flux": (lambda: CLIPTextModel(CLIPTextConfig(**TEXT_L)), lambda: T5EncoderModel(T5Config(vocab_size=32128, **T5))),
    "sdxl_turbo": (
        lambda: CLIPTextModel(CLIPTextConfig(**TEXT_L)),
        lambda: CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=1280, **TEXT_G)),
    ),
    "sd_turbo": (lambda: CLIPTextModel(CLIPTextConfig(**{**LARGE, "num_hidden_layers": 23})),),
    "sana_sprint": (lambda: Gemma2Model(Gemma2Config(**GEMMA)),),
}


def text_encoders() -> list[Row]:
    """model, parameters: all text encoders of each model together."""
    with META:
        return [
            {"model": model, "parameters": sum(parameters(build()) for build in builders)}
            for model, builders in TEXT_ENCODERS.items()
        ]


def rewards() -> list[Row]:
    """reward, parameters, text_parameters (those that leave when the prompts are read), and bytes of one judgement.

    ``peak_bytes`` are the most at any moment of the differentiable form's two passes, in float32, without weights. A
    mask that hides nothing is made like any other, because its numbers cannot be looked at.
    """
    return [_counted(name, *build()) for name, build in REWARDS.items()]


def _counted(name: str, reward: Any, network: nn.Module, text: Any, text_parameters: int) -> Row:
    image = torch.empty(1, 3, SIDE, SIDE, device=META, requires_grad=True)
    padded = patch.object(masking_utils, "_ignore_bidirectional_mask_sdpa", lambda *_: False)
    with gpu_kernels(), padded:
        reward(image, text)  # constants that stay once they are made, such as a mean, are no part of a judgement
    with Live([*network.parameters(), image, text]) as live, gpu_kernels(), padded:
        torch.autograd.grad(reward(image, text).sum(), image)
    both = parameters(network) + text_parameters
    return {"reward": name, "parameters": both, "text_parameters": text_parameters, "peak_bytes": live.peak}


def _huge(kind: type[Any]) -> tuple[Any, nn.Module, Tensor, int]:
    with META:
        config = CLIPConfig(text_config=LARGE, vision_config={**HUGE, "patch_size": 14}, projection_dim=1024)
        network = CLIPModel(config).eval().requires_grad_(False)
        text = torch.empty(1, 1024)
    whole = parameters(network)
    for half in TEXT:
        setattr(network, half, None)
    reward: Any = object.__new__(kind)
    reward.size, reward.tower = 224, SimpleNamespace(network=network)
    return reward, network, text, whole - parameters(network)


def _aesthetic() -> tuple[Any, nn.Module, None, int]:
    with META:
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**LARGE, patch_size=14, projection_dim=768))
        network = nn.ModuleDict({"tower": tower, "head": ScoreHead(768)}).eval().requires_grad_(False)
    reward = Aesthetic.__new__(Aesthetic)
    reward.size, reward.__dict__["network"] = 224, network
    return reward, network, None, 0


def _hpsv2() -> tuple[Any, nn.Module, Tensor, int]:
    with META:
        sizes: Any = open_clip.get_model_config("ViT-H-14")
        network: Any = open_clip.CLIP(**sizes).eval().requires_grad_(False)
        text = torch.empty(1, 1024)
    whole = parameters(network)
    for part in hpsv2.TEXT:
        setattr(network, part, None)
    reward = hpsv2.HPSv2.__new__(hpsv2.HPSv2)
    reward.__dict__["network"] = network
    return reward, network, text, whole - parameters(network)


def _imagereward() -> tuple[Any, nn.Module, Tensor, int]:
    with META:
        vision = BlipVisionConfig(**LARGE, image_size=224, patch_size=16)
        words = BlipTextConfig(vocab_size=30524, **TEXT_L, encoder_hidden_size=1024, is_decoder=True)
        network = BlipReward(vision, words).eval().requires_grad_(False)
        text = torch.ones(1, 2, LENGTH, dtype=torch.long)
    reward = ImageReward.__new__(ImageReward)
    reward.__dict__["network"] = network
    return reward, network, text, 0


REWARDS: Mapping[str, Callable[[], tuple[Any, nn.Module, Any, int]]] = {
    "aesthetic": _aesthetic,
    "clip": lambda: _huge(Clip),
    "hpsv2": _hpsv2,
    "imagereward": _imagereward,
    "pickscore": lambda: _huge(PickScore),
}
