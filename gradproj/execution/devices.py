"""The device that a person chose, and why there is no GPU where there is none."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from gradproj.errors import UserError
from gradproj.pretrained.release import release
from gradproj.types import default_device, on_device

AUTOMATIC = (None, "auto")
INSTALL = "README.md, The published models, says which driver this needs, and how to install torch for an older one"


def chosen(name: str | None) -> AbstractContextManager[None]:
    """Parts that are made inside of the block compute on the device ``name``: ``cpu``, ``cuda``, ``cuda:1``.

    ``auto`` and None leave the choice to ``types.default_device``. ``UserError`` for a GPU that is not there.
    """
    return on_device(None if name in AUTOMATIC else _existing(name))


def memory(name: str | None) -> tuple[int, int] | None:
    """Bytes that are free on the GPU that ``chosen`` takes, and all of them; None where that is the processor.

    ``UserError`` for a GPU that does not answer, such as one that another process has for itself.
    """
    with chosen(name):
        device = default_device()
    if device.type != "cuda":
        return None
    release()
    try:
        return torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        raise UserError(
            f"the GPU cannot be used ({str(error).splitlines()[0]}): nvidia-smi lists what holds it; wait for that, or "
            "take another one: device=cuda:1"
        ) from error


def expect_gpu(model: Any, name: str | None) -> None:
    """``UserError`` where a model that wants a GPU is on the processor, and the device ``name`` does not ask for it."""
    if name in AUTOMATIC and getattr(model, "wants_gpu", False) and model.device.type == "cpu":
        raise UserError(
            f"{type(model).__name__} needs a GPU, and torch sees none: {no_gpu()}. On the processor a picture takes "
            "hours; if you want that, type device=cpu"
        )


def no_gpu() -> str:
    """Why torch sees no GPU, with what to do: no build for one, no driver, too old a driver, or a hidden GPU."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build without CUDA; {INSTALL}"
    try:
        torch.cuda.init()
    except RuntimeError as error:  # torch.cuda.is_available only warns
        reason = " ".join(str(error).split()).partition(". ")[0].removesuffix(".")
        if "driver" in reason:
            return f"{reason} (torch {torch.__version__} is for CUDA {torch.version.cuda}; {INSTALL})"
        return f"{reason} (is CUDA_VISIBLE_DEVICES set? nvidia-smi lists what there is)"
    return "none is left to this process (nvidia-smi lists what there is)"


def _existing(name: Any) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"device must be auto, cpu, cuda or a GPU such as cuda:1, got {name!r}: type device=auto"
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"device={name}: torch sees no GPU: {no_gpu()}; for the processor type device=cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            there = ", ".join(f"cuda:{index}" for index in range(count))
            raise UserError(f"device={name}: torch sees {count} of them, {there}: type device=cuda:{count - 1}")
    return device
