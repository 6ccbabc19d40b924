"""diffusers' own pipeline on a model's files, loaded by its own call: what `gradproj verify` holds ours against."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradproj.errors import UserError
from gradproj.pretrained import layout
from gradproj.pretrained.release import release
from gradproj.pretrained.source import Source
from gradproj.types import Image


@torch.no_grad()
def draw(
    source: Source,
    dtype: torch.dtype,
    device: torch.device,
    prompts: Sequence[str],
    told: Mapping[str, Any],
    ready: Mapping[str, Any],
) -> Image:
    """The pictures of one step by the pipeline's own call, which is ``told`` the latents and more, in ``dtype``.

    Its networks, but for those that are ``ready``, are loaded for it and are gone when it has drawn.
    """
    release()
    pipeline = whole_pipeline(source, dtype, device, **ready)
    told = {**told, "latents": told["latents"].to(dtype), "num_inference_steps": 1, "output_type": "pt"}
    images = pipeline(list(prompts), **told).images
    del pipeline
    release()
    return images


def whole_pipeline(source: Source, dtype: torch.dtype, device: torch.device, **ready: Any) -> Any:
    """The pipeline of ``source`` with all that it needs, and what is ``ready`` in its place.

    On a GPU one network at a time is there, and the others wait in the machine's memory. ``UserError`` where that is
    too small for all of them.
    """
    source.fetch()
    needed = sum(source.weight_bytes(part, dtype) for part in source.parts)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > total:
        raise UserError(
            f"the whole {source.kind.__name__} takes {needed / 2**30:.1f} GiB of the machine's memory, which has "
            f"{total / 2**30:.1f}: compare it on a machine with more"
        )
    index = layout.read_json(source.folder / layout.INDEX)
    absent = {name: None for name, value in index.items() if isinstance(value, list) and name not in source.parts}
    flags = {name: False for name in ("requires_safety_checker",) if name in index}
    pipeline = source.kind.from_pretrained(
        source.folder,
        dtype=dtype,
        variant=source.variant,
        use_safetensors=True,
        local_files_only=True,
        **{**absent, **flags, **ready},
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.watermark = None  # of SDXL's, where the package invisible-watermark is installed
    if device.type == "cuda":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)
