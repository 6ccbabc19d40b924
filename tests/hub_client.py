"""The hub's client in this process, aimed at a hub on localhost; and a small repository there to fetch."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import REPOSITORY, FakeHub
from huggingface_hub import _tree_cache, constants

from gradproj.errors import NotHere, UserError
from gradproj.pretrained.hub import snapshot

MEGABYTE = bytes(range(256)) * 4096
FILES = {
    "model_index.json": b'{"_class_name": "Pipeline"}',
    "unet/config.json": b"{}",
    "unet/model-1.safetensors": b"1" + MEGABYTE,
    "unet/model-2.safetensors": b"2" + MEGABYTE,
    "vae/config.json": b"{}",
    "vae/model.bin": b"a pickle, not asked for",
}
PATTERNS = ("model_index.json", "unet/*.json", "unet/*.safetensors", "unet/*.txt")
WANTED = {name: content for name, content in FILES.items() if name.startswith(("model", "unet"))}


def aim(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """``hub`` is the one that is asked from now on."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")


def point(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``hub`` is the hub of this process, ``folder`` its home, and nobody waits between two tries.

    huggingface_hub reads its environment at import, so its constants are set.
    """
    aim(hub, monkeypatch)
    monkeypatch.setattr(constants, "HF_HOME", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_tree_cache, "_IN_MEMORY_TREE_CACHE", {})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(dict(FILES)) as server:
        yield server


@pytest.fixture(autouse=True)
def client(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point(hub, tmp_path, monkeypatch)


def refusal(revision: str = "main", patterns: tuple[str, ...] = PATTERNS, repo: str = REPOSITORY) -> str:
    with pytest.raises(UserError) as caught:
        snapshot(repo, revision, patterns)
    assert "\n" not in str(caught.value) or isinstance(caught.value, NotHere)
    return " ".join(str(caught.value).split())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
