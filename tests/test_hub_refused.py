"""The hub's client against a hub on localhost that refuses, lies and hangs: a line that says what to type."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import hub_client
import pytest
from fake_hub import REPOSITORY, FakeHub
from hub_client import FILES, PATTERNS, WANTED, contents, refusal
from huggingface_hub import constants

from gradproj.pretrained.hub import snapshot

hub, client = hub_client.hub, hub_client.client


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
