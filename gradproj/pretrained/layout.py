"""A diffusers pipeline's folder: which files its parts are made of, and whether they are all there."""

import json
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gradproj.errors import UserError
from gradproj.pretrained.asking import place_key
from gradproj.pretrained.survey import note_folder

INDEX = "model_index.json"
VOCABULARIES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"}, {"tokenizer.model"})  # any of them


def local_folder(repo: str) -> Path | None:
    """The folder that ``repo`` names; None for a hub id; ``UserError`` for a path where there is no folder."""
    path = Path(repo).expanduser()
    if path.is_dir():
        note_folder(path)
        return path
    if repo.startswith((".", "~")) or path.is_absolute() or repo.count("/") != 1:
        raise UserError(f"{place_key(repo)}={repo}: no such folder, and not a hub id (owner/name): check the path")
    return None


def latent_side(resolution: int, multiple: int) -> int:
    """``resolution`` / ``multiple``; ``UserError`` unless it is a whole number."""
    if resolution % multiple:
        near = max(resolution // multiple, 1) * multiple
        raise UserError(
            f"model.resolution must be a multiple of {multiple}, got {resolution}: type model.resolution={near}"
        )
    return resolution // multiple


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file's content; ``UserError`` with its name where it is missing, cut or no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch the folder again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no configuration: fetch the folder again")
    return content


def count_parameters(files: Iterable[Path]) -> int:
    """How many numbers safetensors files hold, from their headers alone."""
    return sum(prod(shape) for _, shape in shapes(files))


def shapes(files: Iterable[Path]) -> Iterator[tuple[str, Sequence[int]]]:
    """Name and shape of every tensor in safetensors files, from their headers alone."""
    for path in files:
        yield from ((name, shape) for name, shape, _ in _header(path))


def _header(path: Path) -> list[tuple[str, Sequence[int], str]]:
    """Name, shape and number type of every tensor in a safetensors file; ``UserError`` where it is cut."""
    try:
        with safe_open(path, framework="pt") as content:
            slices = [(name, content.get_slice(name)) for name in content.keys()]  # noqa: SIM118
            return [(name, one.get_shape(), one.get_dtype()) for name, one in slices]
    except SafetensorError as error:
        raise UserError(f"{path} is cut or not safetensors ({error}): remove it and fetch it again") from error


def weight_files(variant: str | None) -> tuple[str, str]:
    """Of a network, one file or shards: model.safetensors, model-00001-of-00002.safetensors; model.fp16.safetensors."""
    name = f"*model.{variant}" if variant else "*model"
    return f"{name}.safetensors", f"{name}-*.safetensors"


def small_patterns(parts: Sequence[str]) -> list[str]:
    """Configurations, vocabularies, lists of shards: all that tells what a pipeline is."""
    return [INDEX, *(f"{part}/{pattern}" for part in parts for pattern in ("*.json", "*.txt", "*.model"))]


def weight_patterns(parts: Sequence[str], variant: str | None) -> list[str]:
    return [f"{part}/{pattern}" for part in parts for pattern in weight_files(variant)]


def check_kind(folder: Path, repo: str, kind: type[Any], parts: Sequence[str]) -> None:
    """``UserError`` unless the small files are those of a whole ``kind``."""
    if not (folder / INDEX).is_file():
        raise UserError(f"{repo} is no diffusers pipeline: it has no {INDEX}; give a folder that has, or a hub id")
    name = read_json(folder / INDEX).get("_class_name")
    if name != kind.__name__:
        raise UserError(f"{repo} is a {name}, not the {kind.__name__} that this model needs: give another one")
    for part in parts:
        if not (folder / part).is_dir():
            raise UserError(f"{repo} has no folder {part}: it is not a whole {kind.__name__}")
        there = {path.name for path in (folder / part).iterdir()}
        for name in there & {"config.json", "tokenizer_config.json", "tokenizer.json"}:  # a cut one is told by name
            if "quantization_config" in read_json(folder / part / name):
                raise UserError(f"{repo}/{part} is a quantized copy of the published weights: give one that is not")
        if part.startswith("text_encoder") and "config.json" not in there:
            raise UserError(f"{repo}/{part} has no config.json: fetch the folder again")
        if part.startswith("tokenizer"):
            vocabulary = any(needed <= there for needed in VOCABULARIES)
            if "tokenizer_config.json" not in there or not vocabulary:
                raise UserError(f"{repo}/{part} is not whole (there: {_list(there)}): fetch the folder again")
            _check_tokenizer(f"{repo}/{part}", there)


def _check_tokenizer(where: str, there: set[str]) -> None:
    """``UserError`` for a tokenizer that transformers reads by packages which are not here."""
    readers = all(find_spec(name) for name in ("sentencepiece", "google")) and find_spec("google.protobuf")
    if not readers and not there & {"tokenizer.json", "vocab.json"}:
        raise UserError(
            f"{where} has {_list(there & {'spiece.model', 'tokenizer.model'})} and no tokenizer.json: "
            "type pip install sentencepiece protobuf, which read it, or put the published tokenizer.json beside it"
        )


def check_weights(folder: Path, repo: str, variant: str | None, parts: Sequence[str]) -> None:
    """``UserError`` unless every network has its weights as safetensors, all shards of them, none of them cut."""
    for part in parts:
        inside = folder / part
        if not (inside / "config.json").exists():
            continue  # a tokenizer or a scheduler: no weights
        there = {path.name for path in inside.iterdir()}
        whole, shards = ({name for name in there if fnmatch(name, pattern)} for pattern in weight_files(variant))
        if not whole | shards:
            others = sorted({name.split(".")[1] for name in there if fnmatch(name, "*model.*.safetensors")})
            advice = f"model.source.variant={others[0]}" if others else "model.source.variant=null" if variant else ""
            raise UserError(
                f"{repo}/{part} has no {weight_files(variant)[0]} (there: {_list(there)}); pickles are not read: "
                + (f"type {advice}" if advice else "save it with safe_serialization=True")
            )
        indices = list(inside.glob(f"*.safetensors.index{f'.{variant}' if variant else ''}.json"))
        for index in indices:
            listed = read_json(index).get("weight_map")
            if not isinstance(listed, dict):
                raise UserError(f"{index} does not say which shard has which weight: fetch the folder again")
            if absent := set(map(str, listed.values())) - there:
                raise UserError(f"{repo}/{part} lacks {_list(absent)}: fetch the folder again")
        if not whole and not indices:
            raise UserError(f"{repo}/{part} has {_list(shards)} and no index.json that lists them: fetch it again")
        for name in sorted(whole | shards):
            _check_numbers(inside / name)


def _check_numbers(path: Path) -> None:
    """``UserError`` for weights in whole numbers of 8 bits, which the libraries would take as they are."""
    codes = [name for name, _, dtype in _header(path) if dtype in ("I8", "U8")]
    if codes:
        raise UserError(f"{path} has quantized weights ({_list(codes[:1])}): give the published ones")


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
