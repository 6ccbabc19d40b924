"""The hub's client against a hub on localhost that cuts, damages and dies: what comes, and what is fetched again."""

import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hub_client
import huggingface_hub
import pytest
from fake_hub import REPOSITORY, FakeHub, etag_of
from hub_client import FILES, PATTERNS, WANTED, aim, contents, refusal
from huggingface_hub import _tree_cache, constants

from gradproj.errors import NotHere
from gradproj.pretrained import hub as fetching_hub
from gradproj.pretrained.hub import snapshot

hub, client = hub_client.hub, hub_client.client


def test_main_is_fetched_and_resolved_and_asked_once_more(hub: FakeHub, tmp_path: Path) -> None:
    folder, commit = snapshot(REPOSITORY, "main", PATTERNS)
    assert commit == hub.main == folder.name
    assert contents(folder) == WANTED
    hub.requests.clear()
    assert snapshot(REPOSITORY, "main", PATTERNS) == (folder, commit)
    assert hub.requests == {"revision": 1}


def test_a_commit_is_honoured_and_needs_no_request_once_here(hub: FakeHub) -> None:
    old = hub.main
    hub.push({**FILES, "model_index.json": b"newer"})
    folder, commit = snapshot(REPOSITORY, old, PATTERNS)
    assert commit == old
    assert contents(folder) == WANTED
    hub.requests.clear()
    assert snapshot(REPOSITORY, old, PATTERNS) == (folder, old)
    assert not hub.requests


def test_a_new_main_fetches_only_what_changed(hub: FakeHub) -> None:
    snapshot(REPOSITORY, "main", PATTERNS)
    hub.push({**FILES, "model_index.json": b"newer"})
    hub.sent.clear()
    folder, commit = snapshot(REPOSITORY, "main", PATTERNS)
    assert commit == hub.main
    assert contents(folder) == {**WANTED, "model_index.json": b"newer"}
    assert set(hub.sent) == {"model_index.json"}


@pytest.mark.parametrize("commit", [False, True])
def test_offline_a_whole_cache_does_without_a_request(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, commit: bool
) -> None:
    expected = snapshot(REPOSITORY, "main", PATTERNS)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot(REPOSITORY, expected[1] if commit else "main", PATTERNS) == expected
    assert not hub.requests


def test_a_cache_that_nobody_listed_must_hold_the_named_files(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = snapshot(REPOSITORY, "main", ("unet/*",))
    shutil.rmtree(tmp_path / "hub" / "models--owner--model" / "trees")
    monkeypatch.setattr(_tree_cache, "_IN_MEMORY_TREE_CACHE", {})
    hub.requests.clear()
    hub.status["revision"] = (503, "")
    for _ in range(2):
        assert snapshot(REPOSITORY, "main", ("unet/config.json", "unet/*.safetensors"))[0] == folder
        assert "missing: model_index.json" in refusal()
        assert hub.requests in ({"revision": 2}, {})
        hub.requests.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("commit", [False, True])
def test_without_network_a_whole_cache_does(hub: FakeHub, commit: bool, caplog: pytest.LogCaptureFixture) -> None:
    folder, found = snapshot(REPOSITORY, "main", PATTERNS)
    hub.stop()
    with caplog.at_level(logging.WARNING, "gradproj"):
        assert snapshot(REPOSITORY, found if commit else "main", PATTERNS) == (folder, found)
    assert ("cannot be reached" in caplog.text) is not commit


def test_what_is_for_later_is_named_at_once_and_comes_later(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = ("model_index.json",), ("unet/*.safetensors",)
    folder, commit = snapshot(REPOSITORY, "main", small, later=large)
    assert set(hub.sent) == set(small)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotHere, match=r"missing: unet/model-1\.safetensors, unet/model-2\.safetensors") as told:
        snapshot(REPOSITORY, "main", small, later=large)
    assert shlex.split(told.value.commands[0])[2:] == [
        *(REPOSITORY, "--revision", "main"),
        *("--include", "model_index.json", "--include", "unet/*.safetensors"),
    ]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    snapshot(REPOSITORY, commit, large)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot(REPOSITORY, "main", small, later=large) == (folder, commit)


def test_a_cut_connection_is_taken_up_where_it_was_cut(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # 10 MiB: only whole chunks are kept
    hub.cut_after, hub.cut_once = 20 * 4096, True
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED
    assert sum(hub.sent.values()) == sum(map(len, WANTED.values()))


def test_a_connection_cut_for_good(hub: FakeHub) -> None:
    hub.cut_after = 0
    text = refusal()
    assert "RemoteProtocolError" in text
    assert "whole files are kept: the same command fetches the rest" in text
    hub.cut_after = None
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED


def test_a_body_shorter_than_announced(hub: FakeHub) -> None:
    hub.short = True
    assert "Consistency check failed" in refusal()
    hub.short = False
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED


def test_a_hub_that_dies_in_the_middle_costs_the_file_in_the_middle(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(REPOSITORY, "main", PATTERNS[:2])
    hub.dies_after = 500_000
    text = refusal()
    assert "ConnectError" in text
    assert "whole files are kept" in text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "missing: unet/model-1.safetensors, unet/model-2.safetensors" in refusal()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with FakeHub(dict(FILES)) as again:
        aim(again, monkeypatch)
        assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED
        assert set(again.sent) == {"unet/model-1.safetensors", "unet/model-2.safetensors"}


def test_damaged_weights_are_refused_removed_and_fetched_again(hub: FakeHub) -> None:
    hub.damage = True
    text = refusal()
    for name in ("unet/model-1.safetensors", "unet/model-2.safetensors"):
        content = WANTED[name]
        found = hashlib.sha256(bytes([content[0] ^ 1]) + content[1:]).hexdigest()
        assert f"{name} should have sha256 {etag_of(name, content)}, what came has {found}" in text
    hub.damage = False
    hub.sent.clear()
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED
    assert set(hub.sent) == {"unet/model-1.safetensors", "unet/model-2.safetensors"}


def test_what_came_is_hashed_though_another_process_has_removed_the_note(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That process had all of its own files, and may have asked for fewer."""
    real = huggingface_hub.snapshot_download

    def ended_meanwhile(*arguments: Any, **settings: Any) -> Any:
        answer = real(*arguments, **settings)
        for note in tmp_path.rglob("unchecked-*.json"):
            note.unlink()
        return answer

    monkeypatch.setattr(fetching_hub, "snapshot_download", ended_meanwhile)
    hub.damage = True
    assert "should have sha256" in refusal()


def test_a_file_that_was_cut_in_the_cache_is_fetched_again(hub: FakeHub) -> None:
    folder, commit = snapshot(REPOSITORY, "main", PATTERNS)
    (folder / "unet/model-1.safetensors").resolve().write_bytes(b"1")
    hub.sent.clear()
    assert contents(snapshot(REPOSITORY, commit, PATTERNS)[0]) == WANTED
    assert set(hub.sent) == {"unet/model-1.safetensors"}


def test_what_was_here_is_not_read_again(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(REPOSITORY, "main", ("unet/model-1.safetensors",))
    hashed: list[str] = []
    monkeypatch.setattr("gradproj.pretrained.hub.sha256", lambda path: hashed.append(path.name) or path.readlink().name)
    snapshot(REPOSITORY, "main", PATTERNS)
    assert hashed == ["model-2.safetensors"]
    hub.push({**FILES, "model_index.json": b"newer"})
    snapshot(REPOSITORY, "main", PATTERNS)
    assert hashed == ["model-2.safetensors"]


def test_a_client_killed_in_the_middle_leaves_nothing_unchecked(hub: FakeHub, tmp_path: Path) -> None:
    """The whole way through the environment: a killed process, the note it leaves, a resumed and an offline one."""
    code = "import sys; from gradproj.pretrained.hub import snapshot; print(snapshot(*sys.argv[1:3], sys.argv[3:])[0])"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", code, REPOSITORY, hub.main, *PATTERNS]
    hub.damage = True
    hub.hangs_at = "unet/model-2.safetensors"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        blob = tmp_path / "hub/models--owner--model/blobs" / etag_of("x.safetensors", FILES["unet/model-1.safetensors"])
        while not blob.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    hub.damage, hub.hangs_at = False, ""
    offline = subprocess.run(command, env={**environment, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert "NotHere" in offline.stderr
    assert "unet/model-2.safetensors" in offline.stderr
    assert "unet/model-1.safetensors should have sha256" in refusal()  # of the killed one, by the next
    folder, _ = snapshot(REPOSITORY, "main", PATTERNS)
    assert contents(folder) == WANTED
    hub.requests.clear()
    offline = subprocess.run(command, env={**environment, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert offline.stdout.strip() == str(folder)
    assert not hub.requests
