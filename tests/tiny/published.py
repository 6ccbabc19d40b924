"""A tiny pipeline's files as the published ones are: names of keys, shards, tokenizers and old configurations."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

State = dict[str, Tensor]
CLIP, T5, GEMMA = ("CLIPTextModel", "CLIPTextModelWithProjection"), ("T5EncoderModel",), ("Gemma2Model",)
SHARDS = {"T5EncoderModel": 2, "Gemma2Model": 2, "FluxTransformer2DModel": 3}


def published(folder: Path, to: Path, variant: str | None = None) -> Path:
    """A copy of the saved pipeline ``folder`` in the layout of the hub; ``variant``: of the weight files' names."""
    shutil.copytree(folder, to)
    index = json.loads((to / "model_index.json").read_text())
    for part, entry in index.items():
        if isinstance(entry, list) and (to / part / "config.json").exists():
            _network(to / part, entry[1], variant)
        elif part.startswith("tokenizer") and (to / part).is_dir() and "CLIP" in entry[1]:
            clip_tokenizer(to / part)
    return to


def _network(folder: Path, kind: str, variant: str | None) -> None:
    (file,) = folder.glob("*.safetensors")
    state, config = load_file(file), json.loads((folder / "config.json").read_text())
    if kind in CLIP:
        state = {key if key.startswith("text_") else f"text_model.{key}": one for key, one in state.items()}
        length = config["max_position_embeddings"]
        state["text_model.embeddings.position_ids"] = torch.arange(length)[None]  # a buffer in older transformers
    if kind in T5:
        config |= {"tie_word_embeddings": False, "is_encoder_decoder": True, "output_past": True}
    if kind in (*CLIP, *T5, *GEMMA):
        config |= {"transformers_version": "4.43.3", "torch_dtype": "bfloat16"}
        config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    file.unlink()
    write(folder, file.stem, state, SHARDS.get(kind, 1), variant)


def write(folder: Path, stem: str, state: State, count: int, variant: str | None = None) -> None:
    """``state`` as one safetensors file, or in ``count`` shards beside their index."""
    dotted = f".{variant}" if variant else ""
    names = [f"{stem}{dotted}-{number + 1:05d}-of-{count:05d}.safetensors" for number in range(count)]
    if count == 1:
        save_file(state, folder / f"{stem}{dotted}.safetensors", {"format": "pt"})
        return
    keys = sorted(state)
    shards = {name: keys[number::count] for number, name in enumerate(names)}
    for name, own in shards.items():
        save_file({key: state[key].contiguous() for key in own}, folder / name, {"format": "pt"})
    size = sum(one.numel() * one.element_size() for one in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": {key: name for name, own in shards.items() for key in own}}
    (folder / f"{stem}.safetensors.index{dotted}.json").write_text(json.dumps(index, indent=2))


def read(folder: Path) -> dict[str, State]:
    """File name -> its tensors, of every weight file of a network."""
    return {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def clip_tokenizer(folder: Path) -> None:
    """tokenizer.json as vocab.json, merges.txt and the two lists of special tokens of transformers 4."""
    content: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    model = content["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": config.get("pad_token", "<|endoftext|>"),
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    old = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": config["model_max_length"],
    }
    old |= special | {"tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(old))
    (folder / "tokenizer.json").unlink()
