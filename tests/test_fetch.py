"""``gradproj fetch`` against a hub on localhost: what comes, what is proven, what an interruption costs."""

import hashlib
from pathlib import Path
from typing import Any

import published_hub
import pytest
from conftest import Gradproj
from fake_hub import FakeHub
from huggingface_hub import constants
from published_hub import FLUX, SHORT, coming

from gradproj.cli import prompts
from gradproj.diversity.features import inception
from gradproj.errors import UserError
from gradproj.pretrained import fetching
from gradproj.pretrained.survey import Asked, Request

made, hub = published_hub.made, published_hub.hub


@pytest.fixture
def typed(made: tuple[dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The default FLUX command's overrides; in a folder of the test's own, without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return [*made[1], *SHORT]


def test_the_default_command_is_fetched_once_and_then_runs_without_a_network(
    hub: FakeHub, typed: list[str], gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = gradproj("fetch", *typed)
    assert said.code == 0, said.err
    assert sum(hub.sent.values()) == coming(hub)
    assert "every size and hash is right, without a network" in said.out and "gradproj run model=flux" in said.out
    hub.sent.clear()
    hub.requests.clear()
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert gradproj("fetch", *typed).code == 0, "whole, and nobody is asked"
    said = gradproj("fetch", "--list", *typed)
    assert said.code == 0, said.err
    said = gradproj("run", *typed)
    assert said.code == 0, said.err
    (record,) = (tmp_path / "results" / "runs").glob("*/images/*.csv")
    assert "aesthetic" in record.read_text() and not hub.requests


def test_a_list_has_sizes_licence_and_terms_and_fetches_nothing(
    hub: FakeHub, typed: list[str], gradproj: Gradproj
) -> None:
    hub.gated.add(FLUX)
    said = gradproj("fetch", "--list", *typed)
    assert said.code == 0, said.err
    assert not hub.sent and not Path(constants.HF_HUB_CACHE).exists()
    (line,) = [line for line in said.out.splitlines() if FLUX in line]
    assert "licence apache-2.0; gated: its terms must be accepted on" in line
    assert all(repo in said.out for repo in hub.others)
    assert str(constants.HF_HUB_CACHE) in said.out.splitlines()[-1]


def test_a_list_without_a_hub_says_so(hub: FakeHub, typed: list[str], gradproj: Gradproj) -> None:
    hub.stop()
    said = gradproj("fetch", "--list", *typed)
    assert said.code == 1 and "cannot be reached" in said.err and FLUX in said.out


def test_an_interruption_costs_the_file_under_way(hub: FakeHub, typed: list[str], gradproj: Gradproj) -> None:
    hub.cut_after = 0
    said = gradproj("fetch", *typed)
    assert said.code == 2 and "the same command fetches the rest" in said.err
    small = sum(hub.sent.values())
    assert 0 < small < coming(hub)
    hub.cut_after = None
    assert gradproj("fetch", *typed).code == 0
    assert sum(hub.sent.values()) == coming(hub), "no byte came twice"


def test_a_file_that_changed_in_the_cache_is_found_and_fetched_again(
    hub: FakeHub, typed: list[str], gradproj: Gradproj
) -> None:
    assert gradproj("fetch", *typed).code == 0
    (snapshot,) = Path(constants.HF_HUB_CACHE).glob("models--xswu--HPSv2/snapshots/*")
    path = (snapshot / "HPS_v2.1_compressed.pt").resolve()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    hub.sent.clear()
    assert gradproj("fetch", *typed).code == 0
    assert path.read_bytes() == content and set(hub.sent) == {"HPS_v2.1_compressed.pt"}


def test_damaged_on_the_way_is_refused(hub: FakeHub, typed: list[str], gradproj: Gradproj) -> None:
    hub.damage = True
    said = gradproj("fetch", *typed)
    assert said.code == 2 and "should have sha256" in said.err and "Traceback" not in said.err


def test_the_inception_and_the_prompts_come_when_asked_for(
    hub: FakeHub, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: list[str]
) -> None:
    content = b"an inception" * 100
    hub.add("owner/inception", {"inception.safetensors": content}, "0" * 40)
    url = f"{hub.url}/owner/inception/resolve/{'0' * 40}/inception.safetensors"
    monkeypatch.setattr(inception, "URL_INCEPTION_V3", url)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(prompts, "DEFAULT", tmp_path / "prompts" / "t2i.txt")
    monkeypatch.setattr(prompts, "prompts", lambda *_: [f"thing {number}" for number in range(60)])
    (tmp_path / "prompts").mkdir()
    said = gradproj("fetch", "--list", "--diversity", "prompts=t2i")
    assert said.code == 0 and url in said.out and "t2i.txt: to come" in said.out and not prompts.DEFAULT.exists()
    assert hub.sent == {"inception.safetensors": 0} or not hub.sent
    assert gradproj("fetch", "--diversity", "prompts=t2i").code == 0
    assert (tmp_path / "torch/hub/checkpoints/inception.safetensors").read_bytes() == content
    assert len(prompts.DEFAULT.read_text().splitlines()) == 60
    prompts.DEFAULT.unlink()
    assert gradproj("fetch", "--prompts").code == 0 and prompts.DEFAULT.exists()


def test_a_branch_is_proven_by_the_commit_that_it_was_when_it_was_fetched(
    hub: FakeHub, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push({"config.json": b"{}", "unet/model.safetensors": b"weights"})
    request = Request("owner/model", "main", ["config.json", "unet/*.safetensors"])
    asked = Asked({("owner/model", "main"): request})
    assert fetching.fetch(asked).files == 2
    hub.push({"config.json": b"{ }", "unet/model.safetensors": b"newer"})
    proof = fetching.prove(asked)
    assert (proof.files, proof.bytes, proof.wrong) == (2, 2 + len(b"weights"), {})
    (config,) = Path(constants.HF_HUB_CACHE).glob("models--owner--model/snapshots/*/config.json")
    config.resolve().write_bytes(b"[]")
    assert fetching.prove(asked).damaged, "a small file is held against git's hash"
    assert not fetching.prove(asked, hashes=False).wrong
    assert fetching.fetch(asked).files == 2 and not fetching.prove(asked).wrong, "the branch has moved on"


def test_a_single_file_that_stalls_is_not_waited_for(
    hub: FakeHub, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/inception", {"inception.safetensors": b"weights"}, "0" * 40)
    hub.hangs_at = "inception.safetensors"
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    url = f"{hub.url}/owner/inception/resolve/{'0' * 40}/inception.safetensors"
    with pytest.raises(UserError, match=r"cannot be fetched .*timed out"):
        fetching.fetch(Asked(addresses={url: hashlib.sha256(b"weights").hexdigest()}))


def test_the_miniature_needs_nothing(hub: FakeHub, gradproj: Gradproj, typed: list[str], tmp_path: Path) -> None:
    said = gradproj("fetch", "-m", "model=shapes", "method=none,ours")
    assert said.code == 0 and "all of it is built in" in said.out
    assert not hub.requests and not list(tmp_path.iterdir())
