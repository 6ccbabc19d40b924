"""The published rewards' files with random weights, in the published layouts, from a seed: the same on every machine.

Every builder writes one reward's files into ``folder`` and answers the YAML keys that make the reward read them.
"""

import atexit
import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from .inputs import SEED
from .layouts import Sizes, blip_shapes, clip_shapes, draw, head, open_clip_shapes, small

# What a config.json of 2022 says besides: the published ones are of transformers 4.16 to 4.27.
OLD_FIELDS = {"add_cross_attention": False, "bad_words_ids": None, "do_sample": False, "dropout": 0.0, "num_beams": 1}
OLD_FIELDS |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "top_k": 50}
OLD_FIELDS |= {"torch_dtype": None, "transformers_version": "4.16.0.dev0", "use_bfloat16": False, "pruned_heads": {}}
Overrides = dict[str, Any]


def aesthetic(folder: Path, sizes: Sizes, seed: int = SEED) -> Overrides:
    _clip(folder, sizes, seed)
    path = folder / "sac+logos+ava1-l14-linearMSE.pth"
    torch.save(draw(head(sizes.embedding), seed), path)
    return {"repo": str(folder), "sha256": None, "predictor": str(path), "predictor_sha256": None}


def pickscore(folder: Path, sizes: Sizes, seed: int = SEED) -> Overrides:
    _clip(folder, sizes, seed + 1)
    return {"repo": str(folder), "sha256": None, "tokenizer": str(folder)}


def clip(folder: Path, sizes: Sizes, seed: int = SEED) -> Overrides:
    _clip(folder, sizes, seed + 2)
    return {"repo": str(folder), "sha256": None}


def hpsv2(folder: Path, sizes: Sizes, seed: int = SEED) -> Overrides:
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() for name, value in draw(open_clip_shapes(sizes), seed).items()}  # "compressed"
    torch.save({"epoch": 1, "name": "random", "state_dict": state}, folder / "HPS_v2.1_compressed.pt")
    vision, text = asdict(sizes.vision), asdict(sizes.text)
    vision |= {"image_size": sizes.image, "patch_size": sizes.patch}
    vision["head_width"] = vision["width"] // vision.pop("heads")
    text |= {"context_length": 77, "vocab_size": sizes.words}
    description = {"embed_dim": sizes.embedding, "vision_cfg": vision, "text_cfg": text}
    _write(folder / "architecture.json", description)
    return {"repo": str(folder), "sha256": None, "architecture": str(folder / "architecture.json")}


def imagereward(folder: Path, sizes: Sizes, seed: int = SEED) -> Overrides:
    folder.mkdir(parents=True, exist_ok=True)
    state = draw(blip_shapes(sizes), seed)
    for part in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        state[f"blip.visual_encoder.{part}"] *= 0.01  # so that the 1e-6 in the layer norms counts
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(state, folder / "ImageReward.pt")
    text = {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": sizes.text.width,
        "initializer_range": 0.02,
        "intermediate_size": 4 * sizes.text.width,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": sizes.text.heads,
        "num_hidden_layers": sizes.text.layers,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": sizes.words + 2,
        "encoder_width": sizes.vision.width,
        "add_cross_attention": True,
    }
    _write(folder / "med_config.json", text)
    (folder / "vocab.txt").write_text("\n".join(_word_pieces(sizes.words)) + "\n", encoding="utf-8")
    _write(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})
    return {"repo": str(folder), "sha256": None, "tokenizer": str(folder), "tokenizer_sha256": None}


BUILDERS: Mapping[str, Callable[..., Overrides]] = {
    "aesthetic": aesthetic,
    "pickscore": pickscore,
    "hpsv2": hpsv2,
    "imagereward": imagereward,
    "clip": clip,
}


def as_overrides(name: str, keys: Overrides) -> list[str]:
    """The keys of its ``source`` as command-line overrides of the reward ``name``."""
    return [f"rewards.{name}.source.{key}={'null' if value is None else value}" for key, value in keys.items()]


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings with ``changes``, each of which stands in the node that has its key already."""
    nodes = {node: dict(settings[node]) for node in ("source", "memory")}
    beside = {key: value for key, value in changes.items() if not any(key in node for node in nodes.values())}
    for node in nodes.values():
        node |= {key: value for key, value in changes.items() if key in node}
    return {**settings, **nodes, **beside}


@cache
def files(name: str) -> Overrides:
    """The keys that make the reward ``name`` read small weights of 32 x 32 pixels; files are made once a process."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-rewards-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return BUILDERS[name](folder, small()[name])


def stand_in(name: str) -> tuple[str, ...]:
    """The same as overrides."""
    return tuple(as_overrides(name, files(name)))


def _clip(folder: Path, sizes: Sizes, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes = clip_shapes(sizes)
    state = draw(shapes, seed)
    for half, length in (("text", 77), ("vision", (sizes.image // sizes.patch) ** 2 + 1)):
        state[f"{half}_model.embeddings.position_ids"] = torch.arange(length)[None]  # the published files have them
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    common = {"hidden_act": sizes.activation, "projection_dim": sizes.embedding, "layer_norm_eps": 1e-5}
    halves = {
        f"{name}_config": {
            "hidden_size": half.width,
            "intermediate_size": 4 * half.width,
            "num_hidden_layers": half.layers,
            "num_attention_heads": half.heads,
            **common,
            **OLD_FIELDS,
        }
        for name, half in (("text", sizes.text), ("vision", sizes.vision))
    }
    halves["text_config"] |= {"vocab_size": sizes.words, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    halves["vision_config"] |= {"image_size": sizes.image, "patch_size": sizes.patch}
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": sizes.embedding, **halves}
    config |= {
        "text_config_dict": None,
        "vision_config_dict": None,
        "torch_dtype": "float32",
        "initializer_factor": 1.0,
    }
    _write(folder / "config.json", config)
    _write(folder / "preprocessor_config.json", _processor(sizes.image))
    clip_tokenizer().save_pretrained(folder)


def _processor(size: int) -> dict[str, Any]:
    """As published beside CLIP ViT-H/14."""
    return {
        "crop_size": size,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": size,
    }


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own, of the merges that open_clip brings along."""
    file = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    tokens = {renamed.get(token, token): index for token, index in open_clip.SimpleTokenizer().encoder.items()}
    pairs = [(left, right) for left, right in (merge.split() for merge in merges)]
    return CLIPTokenizer(vocab=tokens, merges=pairs, model_max_length=77)  # pyright: ignore[reportArgumentType]


def _word_pieces(count: int) -> list[str]:
    """A word-piece vocabulary with BERT's special tokens in their places: letters, their continuations, some words."""
    special = ["[PAD]", *(f"[unused{index}]" for index in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in (*range(33, 65), *range(91, 127), 0x6771, 0x4EAC, *range(0x430, 0x450))]
    words = ["red", "ring", "photo", "paint", "##ing", "oil", "long", "road", "of", "on", "an", "the", "##tive", "##ly"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *words]
    return pieces + [f"[unused{index}]" for index in range(99, 99 + count - len(pieces))]


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
