"""The noise of a plain diffusers pipeline, improved and handed back: SD-Turbo, with as many steps as you like.

Needs a GPU, or patience; the weights are SD-Turbo's (``gradproj fetch model=sd_turbo reward=pickscore``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL.Image import Image

import gradproj


def improved_noise(prompt: str, **settings: Any) -> torch.Tensor:
    """Latents (1, 4, 64, 64) for the pipeline; ``settings`` as ``gradproj.improve`` takes them."""
    made = gradproj.improve(prompt, model="sd_turbo", **settings)[0]
    assert made.latent is not None
    return made.latent[None]


def pictures(pipeline: Any, prompt: str, noise: torch.Tensor, steps: Sequence[int] = (1, 2, 4)) -> list[Image]:
    """The pipeline's pictures from ``noise``, with so many steps each."""
    noise = noise.to(pipeline.device, pipeline.dtype)
    told = {"prompt": prompt, "latents": noise, "guidance_scale": 0.0}
    return [pipeline(**told, num_inference_steps=count).images[0] for count in steps]


if __name__ == "__main__":
    PROMPT = "a fox made of stained glass"
    noise = improved_noise(PROMPT, reward="pickscore", rewards=["pickscore"])
    pipeline = DiffusionPipeline.from_pretrained("stabilityai/sd-turbo", torch_dtype=torch.float16, variant="fp16")
    for count, picture in zip((1, 2, 4), pictures(pipeline.to("cuda"), PROMPT, noise), strict=True):
        picture.save(f"fox-{count}-steps.png")
