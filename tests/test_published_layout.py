"""The published files' own layout: read as it is, and refused by name where a part's file is not whole."""

import json
import shutil
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Gradproj
from safetensors.torch import save_file
from test_models import settings
from tiny import models as tiny
from tiny import published
from tiny.shared import LETTERS
from torch import nn
from transformers import T5Tokenizer

from gradproj.errors import UserError
from gradproj.pretrained import layout
from gradproj.pretrained.network import network_class

PROMPTS = ["", "a red ring", "赤い輪 → Ünïcödé"]
PARTS = {
    "sd_turbo": ["text_encoder", "unet", "vae"],
    "sdxl_turbo": ["text_encoder", "text_encoder_2", "unet", "vae"],
    "flux": ["text_encoder", "text_encoder_2", "transformer", "vae"],
    "sana_sprint": ["text_encoder", "transformer", "vae"],
}
State = dict[str, torch.Tensor]


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_the_layout_of_the_hub_gives_the_same_picture(case: str, variant: str | None, tmp_path: Path):
    repo = published.published(tiny.folder(case), tmp_path / "hub", variant)
    given = {"repo": repo, "variant": variant, "cache": tmp_path / "prompts"}
    model, expected = tiny.build(case, **settings(case, **given)), tiny.model(case, **settings(case))
    latent = tiny.random_latent(expected, len(PROMPTS))
    with torch.no_grad():
        image, wanted = (one.generate(latent, one.encode(PROMPTS)) for one in (model, expected))
    torch.testing.assert_close(image, wanted, rtol=0, atol=1e-5)


def removed(state: State, key: str) -> None:
    del state[key]


def renamed(state: State, key: str) -> None:
    state[f"{key}_"] = state.pop(key)


def reshaped(state: State, key: str) -> None:
    state[key] = torch.zeros([side + 1 for side in state[key].shape])


def left_over(state: State, key: str) -> None:
    state["adapter.weight"] = torch.zeros(3)


def spoil(repo: Path, part: str, how: Callable[[State, str], None]) -> tuple[str, str]:
    """One key in the middle of the part's last file; its name without what transformers strips, and the file's."""
    files = published.read(repo / part)
    name, state = list(files.items())[-1]
    key = [one for one in state if not one.endswith("position_ids")][len(state) // 2]
    how(state, key)
    save_file(state, repo / part / name, {"format": "pt"})
    (index,) = list((repo / part).glob("*.index*.json")) or [None]
    return key.removeprefix("text_model."), index.name if index else name


SPOILT = [(removed, "lacks {key}"), (renamed, "lacks {key}"), (reshaped, "has another shape of {key} (")]


@pytest.mark.parametrize(("how", "says"), SPOILT, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize(("model", "part"), [(model, part) for model, parts in PARTS.items() for part in parts])
def test_a_part_that_is_not_whole_is_refused_with_file_and_key(
    model: str, part: str, how: Any, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    repo = published.published(tiny.folder(f"{model}-plain"), tmp_path / "hub")
    key, file = spoil(repo, part, how)
    made = tiny.build(f"{model}-plain", repo=repo, cache=tmp_path / "prompts")
    with pytest.raises(UserError) as told:
        made.encode(["a red ring"])
        _ = made.pipeline
    said = str(told.value)
    assert f"{repo}/{part}/{file} " in said and said.endswith(
        "type model.source.repo=..., " + "a folder or a hub id that has them all"
    )
    before, _, after = says.partition("{key}")
    assert any(f"{before}{prefix}{key}{after}" in said for prefix in ("", "text_model.")), said
    assert "\n" not in said and "LOAD REPORT" not in capfd.readouterr().err
    assert not list(tmp_path.glob("prompts/*")) or not part.startswith("text_encoder")


def cut(folder: Path) -> None:
    path = sorted(folder.glob("*.safetensors"))[-1]
    path.write_bytes(path.read_bytes()[:-1])


def unlisted(folder: Path) -> None:
    next(folder.glob("*.index.json")).unlink()


def misread(folder: Path) -> None:
    next(folder.glob("*.index.json")).write_text('{"weight_map": ["a"]}')


def in_codes(folder: Path) -> None:
    path = sorted(folder.glob("*.safetensors"))[-1]
    save_file({key: one.to(torch.int8) for key, one in published.read(folder)[path.name].items()}, path)


def quantized(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))


DAMAGE = [
    (cut, "-of-0000{}.safetensors is cut or not safetensors (.*): remove it and fetch it again"),
    (unlisted, "/{part} has .*-of-0000{}.safetensors and no index.json that lists them: fetch it again"),
    (misread, "/{part}/.*index.json does not say which shard has which weight: fetch the folder again"),
    (in_codes, "-of-0000{}.safetensors has quantized weights (.*): give the published ones"),
    (quantized, "/{part} is a quantized copy of the published weights: give one that is not"),
]


@pytest.mark.parametrize(("how", "says"), DAMAGE, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize(("part", "shards"), [("transformer", 3), ("text_encoder_2", 2)])
def test_damage_is_told_with_its_file_before_anything_is_loaded(
    part: str, shards: int, how: Callable[[Path], None], says: str, tmp_path: Path
):
    repo = published.published(tiny.folder("flux-plain"), tmp_path / "hub")
    how(repo / part)
    pattern = says.replace("{part}", part).replace("{}", str(shards)).replace("(.*)", r"\(.*\)") + "$"
    with pytest.raises(UserError, match=pattern):
        tiny.build("flux-plain", repo=repo, cache=tmp_path / "prompts")


@pytest.mark.parametrize("part", PARTS["sd_turbo"])
def test_a_key_too_many_is_refused(part: str, tmp_path: Path):
    repo = published.published(tiny.folder("sd_turbo-plain"), tmp_path / "hub")
    spoil(repo, part, left_over)
    made = tiny.build("sd_turbo-plain", repo=repo, cache=tmp_path / "prompts")
    with pytest.raises(UserError, match=rf"{part}/.*safetensors has what .* has no place for: adapter\.weight: type"):
        made.encode(["a red ring"])
        _ = made.pipeline


def test_the_fixed_vae_is_looked_at_too(tmp_path: Path):
    vae = shutil.copytree(tiny.folder("sdxl_turbo-plain"), tmp_path / "copy") / "vae"
    key, file = spoil(tmp_path / "copy", "vae", removed)
    made = tiny.build("sdxl_turbo-plain", vae_repo=vae)
    with pytest.raises(UserError, match=rf"{vae}/{file} lacks {key}: type model\.source\.vae_repo="):
        _ = made.pipeline


def test_a_run_with_a_part_that_is_not_whole_leaves_nothing(tmp_path: Path, gradproj: Gradproj):
    repo = published.published(tiny.folder("flux-plain"), tmp_path / "hub")
    key, file = spoil(repo, "transformer", removed)
    told = ["model=flux", f"model.source.repo={repo}", "model.resolution=16", f"model.source.cache={tmp_path}/prompts"]
    said = gradproj(
        "run", *told, "reward=shapes_aesthetic", "rewards=shapes", "device=cpu", "prompts=[a red ring]", folder=tmp_path
    )
    assert said.code == 2 and f"{repo}/transformer/{file} lacks {key}: type model.source.repo=" in said.err
    assert "Traceback" not in said.err and not (tmp_path / "results").exists()


@pytest.mark.parametrize("entry", [["os", "system"], ["diffusers", "NoSuchModel"], "unet", None, ["diffusers"]])
def test_only_the_libraries_networks_are_made(entry: Any):
    assert issubclass(network_class(["transformers", "T5EncoderModel"], "here"), nn.Module)
    with pytest.raises(UserError, match=r"here is a .*, not a network of diffusers or transformers: give another"):
        network_class(entry, "here")


# A T5 tokenizer as SentencePiece wrote it, without the tokenizer.json that transformers makes of it


def field(number: int, wire: int, payload: bytes) -> bytes:
    """Of a protocol buffer: https://protobuf.dev/programming-guides/encoding/."""
    return varint(number << 3 | wire) + (varint(len(payload)) if wire == 2 else b"") + payload


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def sentencepiece_model() -> bytes:
    """The pieces of ``tiny.shared.t5_tokenizer``; kinds 1, 2, 3 are normal, unknown and control."""
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("▁", -2.0, 1)]
    pieces += [(letter, -3.0, 1) for letter in LETTERS if letter != "▁"]
    content = b""
    for text, score, kind in pieces:
        piece = field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, varint(kind))
        content += field(1, 2, piece)
    unigram = field(3, 0, varint(1)) + field(40, 0, varint(2)) + field(42, 0, varint(1)) + field(43, 0, varint(0))
    return content + field(2, 2, unigram) + field(3, 2, field(1, 2, b"identity"))


def only_sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(sentencepiece_model())
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512, "legacy": True} | special
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("absent", ["sentencepiece", "google", "google.protobuf"])
def test_a_tokenizer_of_sentencepiece_alone_is_refused_where_its_packages_are_not_here(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    repo = published.published(tiny.folder("flux-plain"), tmp_path / "hub")
    only_sentencepiece(repo / "tokenizer_2")
    monkeypatch.setattr(layout, "find_spec", lambda name: None if name == absent else name)
    with pytest.raises(
        UserError, match=r"tokenizer_2 has spiece\.model and no tokenizer\.json: type pip install sente"
    ):
        tiny.build("flux-plain", repo=repo)


def test_it_is_read_where_they_are(tmp_path: Path):
    if not (find_spec("sentencepiece") and find_spec("google") and find_spec("google.protobuf")):
        pytest.skip("the packages sentencepiece and protobuf are not here")
    repo = published.published(tiny.folder("flux-plain"), tmp_path / "hub")
    only_sentencepiece(repo / "tokenizer_2")
    read, expected = (T5Tokenizer.from_pretrained(one / "tokenizer_2") for one in (repo, tiny.folder("flux-plain")))
    for text in PROMPTS:
        assert read(text).input_ids == expected(text).input_ids
    model = tiny.build("flux-plain", repo=repo, cache=tmp_path / "prompts")
    embedding = tiny.model("flux-plain").encode(PROMPTS)
    assert all(torch.allclose(one, embedding[name], atol=1e-5) for name, one in model.encode(PROMPTS).items())
