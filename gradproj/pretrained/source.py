"""A published pipeline's files, from the hub or a local folder: found, checked, loaded in two halves.

The text half (tokenizers, text encoders) comes for the prompts and goes; the picture half (denoiser, decoder,
scheduler) stays on the device, frozen. Safetensors only; nothing is loaded that the job does not need.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from gradproj.errors import UserError
from gradproj.files import sha256
from gradproj.pretrained import hub
from gradproj.pretrained.layout import INDEX, check_whole, count_parameters, local_folder, patterns, weight_files


@dataclass(frozen=True)
class Source:
    """``weights`` says what the files are: {hub id: commit}, or {file: sha256} for a local folder."""

    folder: Path
    weights: Mapping[str, str]
    variant: str | None
    kind: type[Any]  # the diffusers pipeline class

    def load(self, parts: Sequence[str], dtype: torch.dtype, device: torch.device, **ready: nn.Module) -> Any:
        """The diffusers pipeline with only ``parts`` in it (and ``ready`` ones), frozen, in eval mode, on ``device``.

        An encoder half of a VAE is dropped before it gets there. ``UserError`` if the weights are more than the GPU
        holds, cut, or do not fit their configuration.
        """
        self._check_room([part for part in parts if part not in ready], dtype, device)
        index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        absent = {name: None for name, value in index.items() if isinstance(value, list) and name not in parts}
        flags = {name: False for name in ("requires_safety_checker",) if name in index}
        try:
            pipeline = self.kind.from_pretrained(
                self.folder,
                dtype=dtype,
                variant=self.variant,
                use_safetensors=True,
                local_files_only=True,
                **{**absent, **flags, **ready},
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{self.folder} cannot be loaded as {self.kind.__name__}: {error}") from error
        for part in parts:
            module = getattr(pipeline, part)
            if isinstance(module, nn.Module):
                if part == "vae":
                    for half in ("encoder", "quant_conv"):
                        setattr(module, half, None)
                module.eval().requires_grad_(False).to(device)
        return pipeline

    def config(self, part: str) -> dict[str, Any]:
        """A part's config.json: what can be told of it before it is loaded."""
        return json.loads((self.folder / part / "config.json").read_text(encoding="utf-8"))

    def of(self, parts: Sequence[str]) -> dict[str, str]:
        """The weights that ``parts`` are made from: of a local folder only theirs."""
        folders = tuple(f"{part}/" for part in parts)
        return {k: v for k, v in self.weights.items() if k.startswith(folders)} or dict(self.weights)

    def text_identity(self, parts: Sequence[str], dtype: torch.dtype) -> dict[str, Any]:
        """What a prompt's embedding depends on besides the prompt and how it is asked for, ready for JSON."""
        versions = {"diffusers": diffusers.__version__, "transformers": transformers.__version__}
        return {"weights": self.of(parts), "dtype": str(dtype), **versions}

    def _check_room(self, parts: Sequence[str], dtype: torch.dtype, device: torch.device) -> None:
        if device.type != "cuda":
            return
        files = [path for part in parts for path in (self.folder / part).glob("*.safetensors")]
        needed = sum(map(count_parameters, files)) * dtype.itemsize
        free, total = torch.cuda.mem_get_info(device)
        if needed > free:
            raise UserError(
                f"{' and '.join(parts)} need {needed / 2**30:.1f} GiB in {dtype}, the GPU has {free / 2**30:.1f} of "
                f"{total / 2**30:.1f} GiB free: take a larger GPU (docs/models.md lists the needs), "
                "close what else runs on it, or leave the text encoders off it: model.text_encoder_device=cpu"
            )


def fetch(repo: str, revision: str, variant: str | None, kind: type[Any], parts: Sequence[str]) -> Source:
    """The files of ``parts`` of the pipeline ``repo``: a hub id at ``revision``, or a local folder as it is.

    ``variant`` names the files to prefer, ``model.fp16.safetensors``; a local folder may be without it.
    Raises ``UserError`` when anything is missing, before anything is loaded.
    """
    folder = local_folder(repo)
    if folder is None:
        folder, commit = hub.snapshot(repo, revision, [INDEX, *patterns(parts, variant)])
        weights = {repo: commit}
    else:
        if not any(path for pattern in weight_files(variant) for path in folder.glob(f"*/{pattern}")):
            variant = None
        found = sorted({path for pattern in [INDEX, *patterns(parts, variant)] for path in folder.glob(pattern)})
        weights = {str(path.relative_to(folder)): sha256(path) for path in found}
    check_whole(folder, repo, variant, kind, parts)
    return Source(folder, weights, variant, kind)


def load_component(kind: type[Any], repo: str, revision: str, dtype: torch.dtype) -> tuple[Any, dict[str, str]]:
    """A single network and its weights: ``config.json`` beside ``diffusion_pytorch_model.safetensors``."""
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    folder = local_folder(repo)
    if folder is None:
        folder, commit = hub.snapshot(repo, revision, names)
        weights = {repo: commit}
    else:
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{folder} has no {' and no '.join(missing)}: give a folder that has, or a hub id")
        weights = {f"{kind.__name__}/{name}": sha256(folder / name) for name in names}
    try:
        network = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be loaded as {kind.__name__}: {error}") from error
    return network, weights
