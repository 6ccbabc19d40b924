"""The hub's client against a hub on localhost that refuses, cuts, lies, hangs and dies."""

import errno
import hashlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from fake_hub import REPOSITORY, FakeHub, etag_of
from huggingface_hub import _tree_cache, constants

from gradproj.errors import NotHere, UserError
from gradproj.pretrained import hub as fetching_hub
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


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(dict(FILES)) as server:
        yield server


@pytest.fixture(autouse=True)
def client(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub reads its environment at import; here its constants are set, and its waits between tries cut."""
    point(hub, monkeypatch)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_tree_cache, "_IN_MEMORY_TREE_CACHE", {})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


def point(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")


def refusal(revision: str = "main", patterns: tuple[str, ...] = PATTERNS, repo: str = REPOSITORY) -> str:
    with pytest.raises(UserError) as caught:
        snapshot(repo, revision, patterns)
    assert "\n" not in str(caught.value) or isinstance(caught.value, NotHere)
    return " ".join(str(caught.value).split())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_offline_what_is_missing_is_named_with_the_command(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.main
    snapshot(REPOSITORY, "main", ("model_index.json",))
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for revision in ("main", commit):
        text = refusal(revision)
        assert "missing: unet/config.json, unet/model-1.safetensors, unet/model-2.safetensors" in text
        assert "HF_HUB_OFFLINE=0: hf download owner/model --revision" in text
    assert "and HF_HUB_OFFLINE=1 forbids to ask the hub" in refusal("other")
    assert "not whole" in refusal("0" * 40)
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


def test_without_network_a_part_of_a_cache_is_refused(hub: FakeHub) -> None:
    commit = hub.main
    snapshot(REPOSITORY, "main", ("model_index.json",))
    hub.stop()
    assert "missing: unet/config.json" in refusal()
    text = refusal(commit)
    assert f"could not be fetched from {hub.url} (ConnectError" in text
    assert "whole files are kept" in text


def test_without_network_and_cache(hub: FakeHub) -> None:
    hub.stop()
    for revision in ("main", "0" * 40):
        text = refusal(revision)
        assert hub.url in text
        assert "Connect" in text
        assert "network" in text


REFUSALS = {
    "gated without terms": ("resolve", 403, "GatedRepo", ["gated", "https://huggingface.co/owner/model", "auth login"]),
    "gated without login": ("resolve", 401, "GatedRepo", ["gated", "nobody", "HF_TOKEN"]),
    "gated listing": ("revision", 403, "GatedRepo", ["gated", "accept its terms"]),
    "no repository": ("revision", 404, "RepoNotFound", ["no repository owner/model", "private", "check the name"]),
    "private": ("revision", 401, "RepoNotFound", ["no repository owner/model", "private", "auth login"]),
    "no revision": ("revision", 404, "RevisionNotFound", ["no revision main", "PART.source.revision=main"]),
    "no token": ("revision", 401, "", ["401", "nobody", "auth login"]),
    "token may not": ("revision", 403, "", ["403", "settings/tokens"]),
    "broken": ("revision", 500, "", ["500", "cannot be reached"]),
    "broken list": ("tree", 503, "", ["503", "could not be fetched"]),
    "broken files": ("resolve", 502, "", ["502", "could not be fetched"]),
    "no file": ("resolve", 404, "EntryNotFound", ["404", "could not be fetched"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_to_type(hub: FakeHub, case: str) -> None:
    kind, status, code, words = REFUSALS[case]
    hub.status[kind] = (status, code)
    text = refusal()
    assert [word for word in words if word not in text] == []
    assert not hub.sent


@pytest.mark.parametrize(("kind", "code"), [("resolve", ""), ("resolve", "GatedRepo"), ("revision", "")])
def test_a_fine_grained_token_without_the_permission_for_gated_repositories(hub: FakeHub, kind: str, code: str) -> None:
    hub.status[kind] = (403, code)
    hub.message = "Please enable access to public gated repositories in your fine-grained token settings to view this"
    text = refusal()
    assert "owner/model: the token in use is fine-grained and lacks a permission: tick" in text
    assert "public gated repos" in text and "https://huggingface.co/settings/tokens" in text and "auth login" in text


def test_a_wrong_token(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    hub.status["revision"] = (401, "")
    text = refusal()
    assert hub.tokens == {"Bearer hf_wrong"}
    assert "the login in use" in text
    assert "HF_TOKEN" in text


def test_names_that_do_not_exist(hub: FakeHub) -> None:
    assert "no repository owner/other" in refusal(repo="owner/other")
    assert "no revision v9" in refusal("v9")
    assert f"no revision {'0' * 40}" in refusal("0" * 40)
    hub.requests.clear()
    for repo in ("model", "a/b/c", "owner/mo del", "../model", "owner/"):
        assert f"repo={repo}: expected owner/name or an existing folder" in refusal(repo=repo)
    assert "Cannot have -- or .. in repo_id" in refusal(repo="owner/a--b")
    assert not hub.requests


@pytest.mark.parametrize("patterns", [("*.onnx", "*.msgpack"), ("model_index.json", "unet/model.onnx")])
def test_patterns_without_files(hub: FakeHub, patterns: tuple[str, ...]) -> None:
    text = refusal(patterns=patterns)
    assert ".onnx at main" in text or ".msgpack at main" in text
    assert f"{hub.url}/owner/model/tree/{hub.main}" in text
    assert not hub.sent


def test_a_disk_too_small_is_noticed_before_anything_is_fetched(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(REPOSITORY, "main", ("unet/model-1.safetensors",))
    hub.sent.clear()
    hub.push({**FILES, "model_index.json": b"newer"})  # the first weights are here, by the other commit
    hub.announced = 3 * 10**9
    monkeypatch.setattr("gradproj.pretrained.hub.shutil.disk_usage", lambda _: SimpleNamespace(free=10**9))
    text = refusal()
    assert f"3.00 GB are still to come, {tmp_path / 'hub'} has 1.00 GB free" in text
    assert "HF_HOME" in text
    assert not hub.sent


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        text = refusal()
    assert "is full" in text
    assert str(tmp_path) in text
    assert "HF_HOME" in text
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED


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
        point(again, monkeypatch)
        assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED
        assert set(again.sent) == {"unet/model-1.safetensors", "unet/model-2.safetensors"}


@pytest.mark.parametrize("kind", ["revision", "resolve", "body"])
def test_a_hub_that_hangs(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.1)
    hub.hangs.add(kind)
    hub.hangs_at = "unet/model-1.safetensors" if kind == "body" else ""
    assert "Timeout" in refusal()


PORTAL = b"<html>log in to the hotel's network</html>"
ANSWERS = [("revision", body) for body in (PORTAL, b"", b"{}", b"[]", b'{"id": "owner/model"}')]


@pytest.mark.parametrize(("kind", "answer"), [*ANSWERS, ("tree", PORTAL), ("tree", b"")])
def test_an_answer_that_is_no_hubs(hub: FakeHub, kind: str, answer: bytes) -> None:
    hub.answers[kind] = answer
    assert ("cannot be reached" if kind == "revision" else "could not be fetched") in refusal()
    hub.answers.clear()
    assert contents(snapshot(REPOSITORY, "main", PATTERNS)[0]) == WANTED


def test_a_listing_that_forgets_files(hub: FakeHub) -> None:
    hub.answers["tree"] = b"[]"
    assert "unet/model-2.safetensors did not come" in refusal()


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
