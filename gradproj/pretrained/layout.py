"""A diffusers pipeline's folder: which files its parts are made of, and whether they are all there."""

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gradproj.errors import UserError

INDEX = "model_index.json"


def local_folder(repo: str) -> Path | None:
    """The folder that ``repo`` names; None for a hub id; ``UserError`` for a path where there is no folder."""
    path = Path(repo).expanduser()
    if path.is_dir():
        return path
    if repo.startswith((".", "~")) or path.is_absolute() or repo.count("/") != 1:
        raise UserError(f"repo={repo}: no such folder, and not a hub id (owner/name): check the path")
    return None


def latent_side(resolution: int, multiple: int) -> int:
    """``resolution`` / ``multiple``; ``UserError`` unless it is a whole number, at least 1."""
    if not isinstance(resolution, int) or resolution < multiple or resolution % multiple:
        near = (
            max(round(resolution / multiple), 1) * multiple if isinstance(resolution, (int, float)) else 32 * multiple
        )
        raise UserError(
            f"resolution must be a multiple of {multiple}, got {resolution!r}: type model.resolution={near}"
        )
    return resolution // multiple


def count_parameters(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    try:
        with safe_open(file, framework="pt") as content:
            return sum(torch.Size(content.get_slice(key).get_shape()).numel() for key in content.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{file} is cut or not safetensors ({error}): remove it and fetch it again") from error


def weight_files(variant: str | None) -> tuple[str, str]:
    """Of a network, one file or shards: model.safetensors, model-00001-of-00002.safetensors; model.fp16.safetensors."""
    name = f"*model.{variant}" if variant else "*model"
    return f"{name}.safetensors", f"{name}-*.safetensors"


def patterns(parts: Sequence[str], variant: str | None) -> list[str]:
    return [f"{part}/{pattern}" for part in parts for pattern in ("*.json", "*.txt", "*.model", *weight_files(variant))]


def check_whole(folder: Path, repo: str, variant: str | None, kind: type[Any], parts: Sequence[str]) -> None:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{repo} is no diffusers pipeline: {INDEX} cannot be read ({error})") from error
    if index.get("_class_name") != kind.__name__:
        raise UserError(f"{repo} is a {index.get('_class_name')}, not the {kind.__name__} that this model needs")
    for part in parts:
        inside = folder / part
        if not inside.is_dir():
            raise UserError(f"{repo} has no folder {part}: it is not a whole {kind.__name__}")
        if not (inside / "config.json").exists():
            continue  # a tokenizer or a scheduler: no weights
        there = {path.name for path in inside.iterdir()}
        if not any(fnmatch(name, pattern) for name in there for pattern in weight_files(variant)):
            advice = "type model.variant=null" if variant else "save it with safe_serialization=True"
            raise UserError(
                f"{repo}/{part} has no {weight_files(variant)[0]} (there: {', '.join(sorted(there))}); "
                f"pickles are not read: {advice}"
            )
        for shards in inside.glob(f"*.safetensors.index{f'.{variant}' if variant else ''}.json"):
            absent = set(json.loads(shards.read_text(encoding="utf-8"))["weight_map"].values()) - there
            if absent:
                raise UserError(f"{repo}/{part} lacks {', '.join(sorted(absent))}: fetch the folder again")
