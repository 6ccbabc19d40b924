"""diffusers' own pipeline on a model's files, loaded by its own call: what `gradproj verify` holds ours against."""

from typing import Any

import torch

from gradproj.pretrained import layout
from gradproj.pretrained.source import Source


def whole_pipeline(source: Source, dtype: torch.dtype, device: torch.device, **ready: Any) -> Any:
    """The pipeline of ``source`` with all that it needs, and what is ``ready`` in its place.

    On a GPU one network at a time is there, and the others wait in the machine's memory.
    """
    source.fetch()
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
