"""A hub on localhost with FLUX and the paper's rewards at their pinned commits: tiny, in the published layout."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONFIGS
from fake_hub import FakeHub
from hub_client import contents, point
from official import PAPER, WEIGHTS
from tiny import layouts
from tiny import models as tiny_models
from tiny import rewards as tiny

SHORT = ("prompts=[a red ring]", "steps=1", "batch=1", "reward=aesthetic", "device=cpu")
FLUX = "black-forest-labs/FLUX.1-schnell"


def source(kind: str, name: str) -> dict[str, Any]:
    """The ``source`` of a YAML file."""
    settings = yaml.safe_load((CONFIGS / kind / f"{name}.yaml").read_text())
    return settings.get("model", settings)["source"]


def fill(hub: FakeHub, folder: Path) -> list[str]:
    """Put the repositories on ``hub``; the overrides that make the default FLUX command fit them."""
    flux = source("model", "flux")
    hub.add(flux["repo"], contents(tiny_models.folder("flux-plain")), flux["revision"])
    typed = ["model=flux", "model.resolution=16", "model.dtype=float32", f"model.source.cache={folder}/prompts"]
    for name in PAPER:
        keys, published = tiny.BUILDERS[name](folder / name, layouts.small()[name]), source("rewards", name)
        files = contents(folder / name)
        large = files[WEIGHTS[name]]
        changed: dict[str, Any] = {"sha256": hashlib.sha256(large).hexdigest()}
        if name == "aesthetic":
            predictor = Path(shutil.copy(keys["predictor"], folder / "predictor.pth"))
            changed |= {"predictor": predictor, "predictor_sha256": None}
            files.pop(Path(keys["predictor"]).name)
        if name == "hpsv2":
            changed["architecture"] = shutil.copy(keys["architecture"], folder / "architecture.json")
        if name == "imagereward":
            changed["tokenizer_sha256"] = hashlib.sha256(files["vocab.txt"]).hexdigest()
        hub.add(published["repo"], files, published["revision"])
        if "tokenizer" in published:
            hub.add(published["tokenizer"], files, published["tokenizer_revision"])
        typed += tiny.as_overrides(name, changed)
    return typed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """The repositories, and the overrides that fit them; made once."""
    with FakeHub({}) as hub:
        typed = fill(hub, tmp_path_factory.mktemp("published"))
        return hub.others, typed


@pytest.fixture
def hub(made: tuple[dict[str, Any], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub of this test's own that has them, and an empty cache."""
    with FakeHub({}) as server:
        server.others = {repo: {commit: dict(files) for commit, files in one.items()} for repo, one in made[0].items()}
        point(server, tmp_path / "home", monkeypatch)
        yield server


def coming(hub: FakeHub) -> int:
    """The bytes that the default command fetches, counted by the names of the published files."""
    parts = ("tokenizer", "text_encoder", "transformer", "vae", "scheduler", "model_index.json")
    (flux,) = hub.others[FLUX].values()
    total = sum(len(content) for name, content in flux.items() if name.startswith(parts))
    for repo, names in {
        "openai/clip-vit-large-patch14": ("config.json", "model.safetensors"),
        "yuvalkirstain/PickScore_v1": ("config.json", "model.safetensors"),
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": ("tokenizer.json",),
        "xswu/HPSv2": ("HPS_v2.1_compressed.pt",),
        "zai-org/ImageReward": ("ImageReward.pt", "med_config.json"),
        "google-bert/bert-base-uncased": ("vocab.txt",),
    }.items():
        (files,) = hub.others[repo].values()
        total += sum(len(files[name]) for name in names)
    return total
