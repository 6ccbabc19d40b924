"""Which device a run computes on: found, chosen, refused with the reason; never part of a run's name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, Gradproj
from tiny import models as tiny
from tiny.rewards import stand_in

from gradproj.errors import UserError
from gradproj.execution import devices
from gradproj.execution.settings import keys
from gradproj.execution.settings.compose import compose_reward
from gradproj.execution.settings.parts import parts
from gradproj.models.flux import Flux
from gradproj.pretrained.source import Source
from gradproj.types import default_device

OLD_DRIVER = (  # as torch says it: torch/csrc/cuda/Module.cpp
    "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def flux(*more: str) -> list[str]:
    """The settings of a small FLUX on the miniature's rewards."""
    told = [
        "model=flux",
        f"model.source.repo={tiny.folder('flux-plain')}",
        "model.resolution=32",
        "model.dtype=float32",
    ]
    return [*told, "reward=shapes_aesthetic", "rewards=shapes", "prompts=[a red ring]", "steps=1", *more]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("asked", [[], ["device=auto"], ["device=null"]], ids=str)
def test_a_published_model_without_a_gpu_is_refused_before_its_weights(
    asked: list[str], gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Source, "load", lambda *_, **__: pytest.fail("weights were asked for"))
    code, _, err = gradproj("run", *flux(*asked), folder=tmp_path)
    assert code == 2 and err.count("\n") == 1
    assert "Flux needs a GPU, and torch sees none: " in err and "type device=cpu" in err
    assert not (tmp_path / "results").exists()
    assert gradproj("plan", *flux(*asked), folder=tmp_path).code == 0, "a plan is made where no GPU is"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_another_process_has_for_itself_is_told_in_a_line(
    gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    busy = "CUDA error: all CUDA-capable devices are busy or unavailable"

    def refuse(device: torch.device) -> None:
        raise RuntimeError(f"{busy}\nCUDA kernel errors might be asynchronously reported at some other API call")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    for verb in ("run", "verify"):
        code, out, err = gradproj(verb, *flux(), folder=tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1) and f"the GPU cannot be used ({busy}): nvidia-smi" in err
    assert not (tmp_path / "results").exists()


def test_on_the_processor_it_runs_where_that_is_asked_for_and_is_replayed_so(gradproj: Gradproj, tmp_path: Path):
    cache = f"model.source.cache={tmp_path}/prompts"
    ran = gradproj("run", *flux(cache, "device=cpu"), folder=tmp_path)
    assert ran.code == 0, ran.err
    (run,) = (tmp_path / "results" / "runs").iterdir()
    facts = json.loads((run / "env.json").read_text())
    assert facts["torch_device"] == "cpu" and f"on {facts['device']} (cpu), threads=" in ran.out
    assert "device" not in (run / "config.yaml").read_text().split()
    source = f"model.source.repo={tiny.folder('flux-plain')}"
    if not torch.cuda.is_available():
        refused = gradproj("replay", run, "0000-0", source, folder=tmp_path)
        assert refused.code == 2 and "type device=cpu" in refused.err
    again = gradproj("replay", run, "0000-0", source, cache, "device=cpu", folder=tmp_path)
    assert again.code == 0, again.err or again.out
    assert f"on {facts['device']} (cpu)" in again.out


@pytest.mark.usefixtures("no_gpu")
def test_a_finished_run_needs_no_gpu(gradproj: Gradproj, tmp_path: Path):
    assert gradproj("run", *flux("device=cpu"), folder=tmp_path).code == 0
    said = gradproj("run", *flux(), folder=tmp_path)
    assert said.code == 0 and "1 of 1 images recorded, 0 to do" in said.out


@pytest.mark.usefixtures("two_gpus")
def test_a_chosen_gpu_is_every_parts(compose: Compose, monkeypatch: pytest.MonkeyPatch):
    names = ("aesthetic", "clip", "hpsv2", "imagereward", "pickscore")
    told = [one for name in names for one in stand_in(name) if not one.startswith("rewards=")]
    told += ["reward=aesthetic", f"rewards=[shapes,{','.join(names)}]"]
    source = f"model.source.repo={tiny.folder('flux-plain')}"
    for device, expected in (
        ("cuda:1", "cuda:1"),
        ("cuda", "cuda"),
        ("auto", "cuda"),
        ("null", "cuda"),
        ("cpu", "cpu"),
    ):
        made = parts(keys.check(compose("model=flux", source, *told, f"device={device}")))
        every = {"model": made["model"], **made["rewards"]}
        assert {name: str(one.device) for name, one in every.items() if hasattr(one, "device")} == dict.fromkeys(
            every.keys() - {"shapes_rendering"}, expected
        )
        devices.expect_gpu(made["model"], device)
    assert str(compose_reward("shapes_matcher", ["device=cuda:1"])[0].device) == "cuda:1"
    assert str(default_device()) == "cuda", "the choice ends with the parts that it was for"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(compose: Compose):
    with pytest.raises(UserError, match=r"device=cuda:2: torch sees 2 of them, cuda:0, cuda:1: type device=cuda:1$"):
        parts(keys.check(compose("device=cuda:2")))


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("cuda", "raised", "expected"),
    [
        ("13.0", OLD_DRIVER, r"too old \(found version 12040\) \(torch .* is for CUDA 13\.0; README\.md"),
        ("13.0", NO_DRIVER, r"Found no NVIDIA driver on your system \(torch"),
        ("13.0", "No CUDA GPUs are available", "No CUDA GPUs are available .is CUDA_VISIBLE_DEVICES set"),
        (None, None, "is a build without CUDA; README"),
    ],
)
def test_why_there_is_no_gpu_is_told(cuda: Any, raised: Any, expected: str, monkeypatch: pytest.MonkeyPatch):
    def init() -> None:
        raise RuntimeError(raised)

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "init", init)
    model = Flux.__new__(Flux)
    model.device = torch.device("cpu")
    with pytest.raises(UserError, match=f"Flux needs a GPU, and torch sees none: .*{expected}.*type device=cpu$"):
        devices.expect_gpu(model, "auto")
    devices.expect_gpu(model, "cpu")


def test_the_device_names_no_run(gradproj: Gradproj, tmp_path: Path):
    for device in ("auto", "cpu", "null"):
        told = ["prompts=[a red ring]", "steps=1", f"device={device}"]
        assert gradproj("run", *told, folder=tmp_path).code == 0
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 1
