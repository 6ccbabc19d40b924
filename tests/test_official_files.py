"""The paper's rewards refuse files that are cut, changed, of another kind or that hold code."""

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import official
import pytest
import torch
import yaml
from conftest import CONFIGS
from official import NAMES, WEIGHTS, build
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file
from tiny import layouts
from tiny import rewards as tiny

from gradproj.errors import UserError
from gradproj.pretrained import hub, weights_file

keys, own = official.keys, official.own


def published(name: str) -> dict[str, Any]:
    """The ``source`` of the reward's YAML."""
    return yaml.safe_load((CONFIGS / "rewards" / f"{name}.yaml").read_text())["source"]


def load(name: str, keys: dict[str, Any]) -> None:
    _ = build(name, keys).network


def damage(path: Path, how: str) -> None:
    """Cut, change one byte of, or rewrite a weight file with a key less, more, or of another shape."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
        return
    if how == "tampered":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return
    if path.suffix == ".safetensors":
        state, save = load_file(path), lambda new: save_file(new, path)
    else:
        file = torch.load(path, weights_only=True)
        state = file.get("state_dict", file)
        save = lambda new: torch.save({**file, "state_dict": new} if "state_dict" in file else new, path)  # noqa: E731
    victim = next(key for key in state if key.endswith(("mlp.fc1.weight", "mlp.c_fc.weight")) and "vis" in key)
    if how == "missing":
        del state[victim]
    elif how == "extra":
        state["visual.surplus"] = torch.zeros(2)
    else:
        state[victim] = state[victim][:, 1:].contiguous()
    save(state)


@pytest.mark.parametrize("how", ["cut", "missing", "extra", "misshapen"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_does_not_fit_is_refused_by_name(name: str, how: str, own):
    keys = own(name)
    path = Path(keys["repo"]) / WEIGHTS[name]
    damage(path, how)
    with pytest.raises(UserError, match=path.name):
        load(name, keys)


@pytest.mark.parametrize("how", ["cut", "tampered", "missing"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_another_sha256_is_refused_naming_both(name: str, how: str, own):
    keys = own(name)
    path = Path(keys["repo"]) / WEIGHTS[name]
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert build(name, keys | {"sha256": expected}).weights[path.name] == expected
    damage(path, how)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=f"expected sha256 {expected}, found {found}"):
        build(name, keys | {"sha256": expected})


def test_one_published_file_under_the_name_of_another_is_refused(own):
    keys = own("hpsv2")
    folder = Path(keys["repo"])
    (folder / "HPS_v2.1_compressed.pt").rename(folder / "HPS_v2_compressed.pt")
    with pytest.raises(
        UserError, match=r"has no HPS_v2.1_compressed.pt \(there: HPS_v2_compressed.pt, architecture.js"
    ):
        build("hpsv2", keys)
    assert list(build("hpsv2", keys | {"file": "HPS_v2_compressed.pt"}).weights) == [
        "HPS_v2_compressed.pt",
        "architecture",
    ]
    (folder / "HPS_v2_compressed.pt").rename(folder / "HPS_v2.1_compressed.pt")
    with pytest.raises(UserError, match="cut, renamed or another file: expected sha256 c57a38fb"):
        build("hpsv2", keys | {"sha256": published("hpsv2")["sha256"]})


class Opens:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["hpsv2", "imagereward", "aesthetic"])
def test_a_pickle_with_code_is_not_run(name: str, own, tmp_path):
    keys, victim = own(name), tmp_path / "owned"
    path = Path(keys["predictor"]) if name == "aesthetic" else Path(keys["repo"]) / WEIGHTS[name]
    torch.save({"layers.0.weight": torch.zeros(2), "x": Opens(victim)}, path)
    with pytest.raises(UserError, match="holds more than tensors"):
        load(name, keys)
    path.write_bytes(pickle.dumps(Opens(victim), protocol=2))
    with pytest.raises(UserError, match=path.name.replace("+", r"\+")):
        load(name, keys)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("clip", {"repo": "/nowhere/at/all"}, "no such folder, and not a hub id"),
        ("hpsv2", {"architecture": "ViT-H-15"}, "architecture=ViT-H-15 is unknown to open_clip"),
        ("hpsv2", {"architecture": "nowhere.json"}, "architecture=nowhere.json cannot be read"),
        ("hpsv2", {"architecture": "ViT-B-32"}, "was not made for it"),
        ("aesthetic", {"predictor": "/nowhere/head.pth"}, "/nowhere/head.pth cannot be read"),
        ("aesthetic", {"predictor": "https://example.org/head.pth"}, "give its sha256"),
    ],
    ids=str,
)
def test_a_wrong_key_says_what_is_expected(name: str, wrong: dict[str, Any], message: str, keys):
    with pytest.raises(UserError, match=message):
        load(name, keys(name) | wrong)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("clip", "tokenizer.json", "{}", "is no tokenizer"),
        ("clip", "tokenizer.json", '{"model":', "is cut or no tokenizer"),
        ("clip", "config.json", '{"hidden', "does not describe a CLIP"),
        ("imagereward", "med_config.json", "{}", "does not describe a text encoder"),
        ("imagereward", "vocab.txt", "red\nring\n", "is no BERT vocabulary"),
    ],
)
def test_a_wrong_description_is_refused(name: str, file: str, content: str, message: str, own):
    keys = own(name)
    (Path(keys["repo"]) / file).write_text(content)
    with pytest.raises(UserError, match=message):
        load(name, keys)


def test_a_tokenizer_with_more_words_than_the_network_is_refused(keys, tmp_path):
    sizes = layouts.small()["clip"]
    fewer = tiny.clip(tmp_path, layouts.Sizes(**{**vars(sizes), "words": 100}))
    with pytest.raises(UserError, match="49408 tokens, the network 100"):
        build("clip", fewer)


def test_weights_name_the_files_of_a_folder_and_the_commit_of_a_repository(keys, own, monkeypatch):
    local, folder = keys("pickscore"), Path(keys("pickscore")["repo"])
    weights = build("pickscore", local).weights
    assert weights.keys() == {"config.json", "model.safetensors", "tokenizer of tokenizer.json"}
    assert weights["config.json"] == hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    asked = []

    def snapshot(
        repo: str, revision: str, patterns: list[str], later: Sequence[str] = (), pins: object = None
    ) -> tuple[Path, str]:
        asked.append((repo, revision, patterns, later))
        return folder, f"commit of {revision}"

    monkeypatch.setattr(hub, "snapshot", snapshot)
    there = published("pickscore")
    assert build("pickscore", {}).weights == {
        there["repo"]: f"commit of {there['revision']}",
        f"tokenizer of {there['tokenizer']}": f"commit of {there['tokenizer_revision']}",
    }
    assert asked == [
        (there["repo"], there["revision"], ["config.json"], ["model.safetensors"]),
        (there["tokenizer"], there["tokenizer_revision"], ["tokenizer.json"], []),
    ]
    with pytest.raises(UserError, match=f"expected sha256 {'0' * 64}, found {weights['model.safetensors']}"):
        load("pickscore", {"sha256": "0" * 64})


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_have_another_name(name: str, keys, tmp_path):
    other = tiny.BUILDERS[name](tmp_path, layouts.small()[name], seed=7)
    assert build(name, other).weights != build(name, keys(name)).weights


def test_the_predictor_is_fetched_once_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    source = tmp_path / "head.pth"
    source.write_bytes(b"not really")
    digest = hashlib.sha256(b"not really").hexdigest()
    with pytest.raises(UserError, match="0" * 64):
        weights_file.download(source.as_uri(), "0" * 64)
    assert not list((tmp_path / "cache").rglob("*.pth"))
    url = "https://example.org/raw/head.pth"
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda _, to, **__: Path(to).write_bytes(source.read_bytes())
    )
    path, found = weights_file.one_file(url, digest)
    assert found == digest
    source.unlink()
    assert weights_file.one_file(url, digest) == (path, digest)
    path.write_bytes(b"not rea")
    with pytest.raises(UserError, match=f"expected sha256 {digest}"):
        weights_file.one_file(url, digest)


@pytest.mark.parametrize("name", NAMES)
def test_score_needs_a_prompt_a_picture(name: str, keys):
    with pytest.raises(UserError, match="one prompt a picture, got 2 pictures and 1 prompts"):
        build(name, keys(name)).score([Pillow.new("RGB", (40, 40))] * 2, ["a red ring"])
