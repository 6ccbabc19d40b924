"""Nothing is fetched before all that a command needs can be had: access, network and disk, of all its runs at once."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import published_hub
import pytest
from conftest import Gradproj
from fake_hub import FakeHub
from huggingface_hub import constants
from published_hub import FLUX, SHORT, coming

from gradproj.errors import UserError
from gradproj.execution import replay, worker
from gradproj.execution.settings.compose import compose_run
from gradproj.pretrained import outlook, settle
from gradproj.runs.folder import Run
from gradproj.runs.naming import config_of

made, hub = published_hub.made, published_hub.hub
Typed = Callable[..., Any]


@pytest.fixture
def run(made: tuple[dict[str, Any], list[str]], gradproj: Gradproj, tmp_path: Path, monkeypatch) -> Typed:
    """``gradproj run`` of the default FLUX command on those files, which ends where the work would begin."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(worker, "complete", lambda *_: pytest.fail("it was accepted"))
    return lambda *more: gradproj("run", *made[1], *SHORT, *more, folder=tmp_path)


def refused(said: Any, hub: FakeHub, *words: str, lines: int = 1) -> None:
    """Exit code 2 and so many lines, which have ``words``; no byte of any file was sent."""
    assert said.code == 2 and said.err.startswith("gradproj run: "), said
    assert len(said.err.splitlines()) == lines, said.err
    assert not [word for word in words if word not in said.err], said.err
    assert not hub.sent


def test_gated_and_nobody_is_logged_in(run: Typed, hub: FakeHub) -> None:
    hub.gated.add(FLUX)
    refused(run(), hub, f"{FLUX} is gated, asked by nobody", f"https://huggingface.co/{FLUX}", "`hf auth login`")


def test_gated_and_not_accepted(run: Typed, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add(FLUX)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    refused(run(), hub, f"{FLUX} is gated, asked by the login in use", "accept its terms")


def test_a_wrong_token_is_told_once(run: Typed, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_good"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused(run(), hub, "does not know the token of HF_TOKEN", "settings/tokens", "export HF_TOKEN=hf_...")


def test_every_gated_repository_of_the_command_is_told(run: Typed, hub: FakeHub) -> None:
    hub.gated |= {FLUX, "xswu/HPSv2"}
    refused(run(), hub, f"{FLUX} is gated", "xswu/HPSv2 is gated", lines=2)


@pytest.mark.parametrize("short", [1, 0])
def test_a_disk_too_small_by_one_byte(run: Typed, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    free = SimpleNamespace(free=coming(hub) - short)
    monkeypatch.setattr(settle.shutil, "disk_usage", lambda _: free)
    if not short:
        with pytest.raises(pytest.fail.Exception, match="it was accepted"):
            run()
        return
    refused(run(), hub, "are to come", "1 bytes too few", "HF_HOME")


def test_a_home_that_is_a_file_is_told_once_and_nothing_is_asked(
    run: Typed, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(file / "hub"))
    refused(run(), hub, f"{file} is a file, and the hub's cache is to be the folder", "set HF_HOME to a folder")
    assert not hub.requests


def test_a_place_where_nothing_can_be_written_is_told_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()

    def told(folder: Path) -> list[str]:
        return settle.disk(outlook.Outlook([], [outlook.Address("https://there/it", "0" * 64, folder / "it", 1)]))

    assert told(tmp_path / "checkpoints") == []
    assert told(file / "checkpoints") == [
        f"{file} is a file, and {file}/checkpoints is to be a folder: set TORCH_HOME to a folder that is yours"
    ]
    monkeypatch.setattr(settle.os, "access", lambda *_: False)
    assert told(tmp_path / "a" / "b") == [f"{tmp_path} cannot be written to: set TORCH_HOME to a folder that is yours"]


def test_a_sweep_is_settled_before_its_first_run(
    hub: FakeHub, tmp_path: Path, gradproj: Gradproj, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.gated.add(FLUX)
    said = gradproj("run", "-m", *made[1], *SHORT[:3], SHORT[4], "reward=aesthetic,pickscore", "method=none,ours")
    refused(said, hub, f"{FLUX} is gated")
    assert not (tmp_path / "results").exists()
    assert hub.requests["auth-check"] == 7, "one for each repository"


def test_offline_with_half_of_the_files(
    run: Typed, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, gradproj: Gradproj, made: Any
) -> None:
    assert gradproj("fetch", *made[1], *SHORT).code == 0
    folder = Path(constants.HF_HUB_CACHE)
    for repo in (FLUX, "xswu/HPSv2"):
        (snapshot,) = (folder / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir()
        for path in (*snapshot.glob("transformer/*.safetensors"), *snapshot.glob("*.pt")):
            path.unlink()
    hub.sent.clear()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(
        run(), hub, FLUX, "xswu/HPSv2", "transformer/", "HPS_v2.1", "HF_HUB_OFFLINE=0 gradproj fetch model=", lines=2
    )
    assert not hub.requests


def test_a_hub_out_of_reach_is_told_once(run: Typed, hub: FakeHub) -> None:
    hub.stop()
    refused(run(), hub, f"{hub.url} cannot be reached", "type: gradproj fetch model=flux", lines=2)


@pytest.mark.parametrize("kind", ["revision", "auth-check"])
def test_a_hub_that_stalls_is_not_waited_for(run: Typed, hub: FakeHub, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.hangs.add(kind)
    said = run()
    assert said.code == 2 and "Timeout" in said.err and not hub.sent
    assert kind != "revision" or hub.requests["revision"] == 1, "asked in vain once, not for every repository"


def test_a_mirror_that_cannot_be_asked_for_access_is_believed(run: Typed, hub: FakeHub) -> None:
    hub.status["auth-check"] = (404, "")
    with pytest.raises(pytest.fail.Exception, match="it was accepted"):
        run()


def test_a_pin_that_is_not_the_listed_one_is_told_before_anything_is_fetched(run: Typed, hub: FakeHub) -> None:
    wrong = "0" * 64
    said = run(f"rewards.hpsv2.source.sha256={wrong}")
    refused(said, hub, "xswu/HPSv2 lists HPS_v2.1_compressed.pt", f"the settings expect {wrong}")


def test_a_whole_cache_is_asked_nothing(run: Typed, hub: FakeHub, gradproj: Gradproj, made: Any) -> None:
    assert gradproj("fetch", *made[1], *SHORT).code == 0
    hub.requests.clear()
    hub.gated.add(FLUX)
    with pytest.raises(pytest.fail.Exception, match="it was accepted"):
        run()
    assert not hub.requests


def test_a_plan_fetches_nothing_and_ends_with_what_a_run_would_fetch_or_be_refused(
    hub: FakeHub, tmp_path: Path, gradproj: Gradproj, made: Any
) -> None:
    def planned() -> tuple[str, ...]:
        said = gradproj("plan", *made[1], *SHORT, folder=tmp_path)
        assert said.code == 0, said.err
        return tuple(said.out.splitlines())

    first, *_, last = planned()
    assert first == "flux-ours-aesthetic: 0 recorded; 1 not begun"
    assert last.startswith(f"{coming(hub) / 1e9:.2f} GB of files are to be fetched first; gradproj fetch model=flux ")
    hub.gated.add(FLUX)
    assert planned()[-1].startswith(f"{FLUX} is gated, asked by nobody")
    hub.gated.clear()
    assert not hub.sent and not list(Path(constants.HF_HOME).rglob("snapshots"))
    assert gradproj("fetch", *made[1], *SHORT).code == 0
    hub.requests.clear()
    first, *_, last = planned()
    assert len(first.partition(":")[0]) == len("flux-ours-aesthetic-01234567") and "GB of files" not in last
    assert not hub.requests


def test_scoring_replaying_and_measuring_are_settled_first_too(
    hub: FakeHub, tmp_path: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated |= {FLUX, "yuvalkirstain/PickScore_v1"}
    settings = compose_run(["model=flux", "reward=aesthetic"])[0]
    config = config_of("flux", "ours", ["aesthetic"], settings) | {"prompts": ["a red ring"], "weights": {}}
    run = Run.create(tmp_path, config, {})
    with pytest.raises(UserError, match=f"{FLUX} is gated"):
        replay._experiment(run, ["device=cpu"], 1)
    said = gradproj("score", "pickscore", run.folder)
    assert said.code == 2 and said.err.startswith("gradproj score: yuvalkirstain/PickScore_v1 is gated")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(outlook, "cached", lambda _: tmp_path / "inception.pth")
    said = gradproj("diversity", "--prefetch", "--device", "cpu")
    assert said.code == 2 and "gradproj diversity --prefetch" in said.err
    assert not hub.sent
