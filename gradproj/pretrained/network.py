"""A network loaded whole: what its weight file lacks is told, where the libraries would draw random numbers instead."""

import importlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from gradproj.errors import UserError
from gradproj.pretrained.layout import weight_files

LIBRARIES = ("diffusers", "transformers")  # whose networks a model_index.json may name
ANOTHER = "..., a folder or a hub id that has them all"
LOADING = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)  # what bad files make of it
SHOWN = 5  # keys named in one message
CPU = torch.device("cpu")


def network_class(entry: Any, where: str) -> type[Any]:
    """The class that a part's ``entry`` in model_index.json, [library, class], names; ``where`` is for the message."""
    try:
        library, name = entry
        if library in LIBRARIES:
            return getattr(importlib.import_module(library), name)
    except (TypeError, ValueError, AttributeError):
        pass
    raise UserError(f"{where} is a {entry}, not a network of {' or '.join(LIBRARIES)}: give another pipeline")


def load_network(
    kind: type[Any],
    folder: Path,
    label: str,
    dtype: torch.dtype,
    advice: str,
    variant: str | None = None,
    device: torch.device = CPU,
) -> Any:
    """The network of ``kind`` with the safetensors weights in ``folder``, all of them as they are there.

    They are read straight to ``device``. The message of a ``UserError`` calls the folder ``label``, says which keys are
    missing, left over or of another shape, and ends with what to type, ``advice``. A left-over key that is called as a
    buffer which the network computes itself does no harm: older versions saved it.
    """
    told: dict[str, Any] = {"dtype": dtype, "variant": variant, "use_safetensors": True, "local_files_only": True}
    told |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # mismatched sizes are in the report
    with _quiet():
        try:
            network, report = kind.from_pretrained(folder, device_map={"": device}, **told)
        except NotImplementedError:  # diffusers, of a weight that is missing: without a device it says which
            network, report = kind.from_pretrained(folder, **told)
    own: nn.Module = network
    unfilled = [name for name, value in _tensors(own) if value.is_meta]  # diffusers trusts the index of a sharded file
    reshaped = {key: f"{key} ({_shape(came)}, expected {_shape(wanted)})" for key, came, wanted in _mismatched(report)}
    missing = {*report["missing_keys"], *unfilled} - reshaped.keys()
    extra = [key for key in report["unexpected_keys"] if not _is_computed(key, own)]
    found = (("lacks", missing), (f"has what {kind.__name__} has no place for:", extra))
    wrong = [f"{what} {_list(keys)}" for what, keys in found if keys]
    wrong += [f"has another shape of {_list(reshaped.values())}"] if reshaped else []
    wrong += [" ".join(text.split()) for text in report.get("error_msgs", ())]
    if wrong:
        raise UserError(f"{label}/{_file(folder, variant)} {'; it '.join(wrong)}: type {advice}")
    return network


def freeze(module: nn.Module, device: torch.device) -> None:
    """In eval mode, without gradients for its weights, on ``device``; of a VAE only what decodes."""
    if hasattr(module, "decoder") and hasattr(module, "encoder"):
        for half in ("encoder", "quant_conv"):
            setattr(module, half, None)
    module.eval().requires_grad_(False).to(device)


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' own tables of such keys are not printed: a message says what matters."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def _mismatched(report: Any) -> Iterable[tuple[str, Any, Any]]:
    return sorted(report["mismatched_keys"], key=lambda entry: entry[0])


def _is_computed(key: str, network: nn.Module) -> bool:
    """Whether ``key`` is called as a buffer of ``network``, but for what stands before its name."""
    return any(f".{key}".endswith(f".{name}") for name, _ in network.named_buffers())


def _file(folder: Path, variant: str | None) -> str:
    """The weight file's name; of shards their index's."""
    names = sorted(path.name for pattern in weight_files(variant) for path in folder.glob(pattern))
    shards = sorted(path.name for path in folder.glob(f"*.safetensors.index{f'.{variant}' if variant else ''}.json"))
    return (names if len(names) == 1 else shards or names or ["no weights"])[0]


def _list(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _shape(size: Iterable[int]) -> str:
    return "x".join(map(str, size)) or "a number"
