"""``gradproj doctor``: a line for each thing, OK only where a run would go through, and never a traceback."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import published_hub
import pytest
import torch
import yaml
from conftest import CONFIGS, GRADPROJ, Gradproj
from fake_hub import FakeHub
from huggingface_hub import constants
from published_hub import FLUX, SHORT
from tiny import layouts

from gradproj.execution import doctor
from gradproj.execution.doctor import files, gpu, machine, slurm
from gradproj.execution.memory import counted
from gradproj.pretrained import settle
from gradproj.rewards import hpsv2

made, hub = published_hub.made, published_hub.hub
GIB = 2**30
TEXTS = ("pickscore", "clip", "hpsv2")  # whose text half leaves
Asked = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """``ask("model=flux")``: the exit code, and name -> check."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(machine.os, "sysconf", lambda _: 2**19)  # pages of as many bytes: 256 GiB of RAM

    def one(*arguments: str) -> tuple[int, dict[str, Any]]:
        said = gradproj("doctor", "--json", *arguments, folder=tmp_path)
        answer = json.loads(said.out)
        assert answer["well"] is (said.code == 0)
        return said.code, {check["name"]: check for check in answer["checks"]}

    return one


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """``card(47.5, 47)``: a GPU with so many GiB, and free ones, that torch sees; it computes on the processor."""

    def there(total: float, free: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * GIB), int(total * GIB)))
        ones = torch.ones
        monkeypatch.setattr(torch, "ones", lambda *shape, device=None, **more: ones(*shape, **more))

    return there


def test_the_miniature_is_well_here_and_says_so_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_ENDPOINT": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    before = os.times()
    done = subprocess.run(
        [*GRADPROJ, "doctor", "model=shapes"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    after = os.times()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"OK", "note"}
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 5, "seconds of the processor: how long it takes where nothing else runs"
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_anything_is_told_what_to_type(ask: Asked, hub: FakeHub, made: Any, monkeypatch) -> None:
    hub.gated.add(FLUX)
    monkeypatch.setenv("PATH", "")
    predictor = [word for word in made[1] if ".predictor" in word]
    code, found = ask("model=flux", *predictor)
    assert code == 1
    assert found["driver"]["state"] == found["gpu"]["state"] == found["weights"]["state"] == "missing"
    assert "39 GiB are needed, or less" in found["gpu"]["said"] and "device=cpu" in found["gpu"]["advice"]
    assert f"{FLUX} is gated, asked by nobody" in found["access"]["said"]
    assert found["weights"]["advice"].startswith("type gradproj fetch model=flux ")
    assert found["hub"]["state"] == "OK" and hub.url in found["hub"]["said"]
    assert not hub.sent


def test_all_is_well_where_it_is(ask: Asked, hub: FakeHub, made: Any, gradproj: Gradproj, card: Any) -> None:
    typed = [*made[1], *SHORT]
    assert gradproj("fetch", *typed).code == 0
    hub.stop()
    code, found = ask(*typed)
    assert code == 0, found
    assert found["weights"]["said"].endswith("sizes and hashes are right")
    card(95, 94)
    assert ask(*typed[:-1])[1]["gpu"]["state"] == "OK"
    (snapshot,) = Path(constants.HF_HUB_CACHE).glob("models--xswu--HPSv2/snapshots/*")
    path = (snapshot / "HPS_v2.1_compressed.pt").resolve()
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert ask("--quick", *typed)[1]["weights"]["state"] == "OK"
    code, found = ask(*typed)
    assert code == 1 and "HPS_v2.1_compressed.pt of xswu/HPSv2 should have" in found["weights"]["said"]
    assert found["weights"]["state"] == "wrong"


def test_a_wrong_token_and_a_small_disk(ask: Asked, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(free=10)
    monkeypatch.setattr(settle.shutil, "disk_usage", lambda _: free)
    code, found = ask("model=flux")
    assert code == 1 and "bytes too few" in found["disk"]["said"] and found["results"]["state"] == "wrong"
    hub.token = "hf_good"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, found = ask("model=flux")
    assert code == 1 and "does not know the token of HF_TOKEN" in found["token"]["said"]


# --- the GPU's memory


def run(compose: Any, *typed: str, model: str = "flux") -> doctor.Command:
    from gradproj.execution.settings import keys

    return doctor.Command([keys.check(compose(f"model={model}", *typed))], "", launched=False)


@pytest.mark.parametrize(
    ("model", "typed", "total", "free", "state", "says"),
    [
        ("flux", "", 47.5, 47.0, "OK", "memory: batch=2, held_out=during"),
        ("flux", "", 47.5, 12.0, "wrong", "nvidia-smi lists them"),
        ("flux", "", 31.5, 31.0, "OK", "held_out=cpu, checkpointing=none, decoder_checkpointing=blocks: 30.7 GiB"),
        ("flux", "", 23.5, 23.0, "wrong", "no room for the generator and the decoder of Flux"),
        ("flux", "batch=4", 47.5, 47.0, "OK", "batch=4, held_out=during, checkpointing=blocks"),
        ("flux", "memory=given", 47.5, 47.0, "OK", "38.6 GiB are needed at the most"),
        ("flux", "memory=given", 23.5, 23.0, "wrong", "38.6 GiB are needed at the most (docs/models.md): type memory="),
        ("sana_sprint", "held_out=after", 15.5, 15.0, "OK", "batch=1, held_out=after, checkpointing=none"),
    ],
)
def test_the_memory_that_is_needed_against_the_card(
    compose: Any, card: Any, model: str, typed: str, total: float, free: float, state: str, says: str
) -> None:
    card(total, free)
    check = gpu.gpu(run(compose, *filter(None, [typed]), model=model))
    assert check.state == state and says in check.line(), check.line()


def test_the_need_is_the_documented_one(compose: Any) -> None:
    """docs/models.md: FLUX has 22.2 GiB, the text encoders 9.1; the paper's four rewards 8 GB when prompts are read."""
    alone, four = (counted.needs(run(compose, f"held_out={place}").runs[0]) for place in ("cpu", "during"))
    assert alone and four
    aesthetic = 4 * 304_894_177
    assert (alone["load"] - aesthetic) / GIB == pytest.approx(22.24, abs=0.005)
    assert alone["text"] / GIB == pytest.approx(9.1, abs=0.005)
    assert round((four["load"] - alone["load"] + aesthetic) / 1e9) == 8
    assert four["climb"] - four["load"] == alone["climb"] - alone["load"]


def test_the_rewards_are_counted_by_their_published_shapes() -> None:
    left = {
        "aesthetic": ("text_model.", "text_projection.", "logit_scale"),
        "imagereward": ("blip.vision_p", "blip.text_p"),
    }
    for row in counted._table("rewards"):
        name, sizes = row["reward"], layouts.FULL[row["reward"]]
        shapes = {"hpsv2": layouts.open_clip_shapes, "imagereward": layouts.blip_shapes}.get(name, layouts.clip_shapes)(
            sizes
        )
        if name == "aesthetic":
            shapes = {**shapes, **{f"head.{key}": shape for key, shape in layouts.head(sizes.embedding).items()}}
        sizes = {key: torch.Size(shape).numel() for key, shape in shapes.items()}
        sizes = {key: size for key, size in sizes.items() if not key.startswith(left.get(name, "-"))}
        assert sum(sizes.values()) == int(row["parameters"]), name
        text = ("text_model.", "text_projection.", *hpsv2.TEXT) if name in TEXTS else ()
        assert sum(size for key, size in sizes.items() if key.startswith(text)) == int(row["text_parameters"]), name


def test_every_published_model_is_counted(compose: Any) -> None:
    for path in (CONFIGS / "model").glob("*.yaml"):
        if "source" in yaml.safe_load(path.read_text())["model"]:
            assert counted.needs(run(compose, model=path.stem).runs[0]), path.stem
    small = "model.source.repo=Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers"
    one, other = (run(compose, *typed, model="sana_sprint").runs[0] for typed in ((), (small,)))
    assert counted.loading(one) > counted.loading(other)


def test_rewards_that_a_card_sends_to_the_processor_need_its_memory(compose: Any, card: Any) -> None:
    typed, aside = (run(compose, *more).runs[0] for more in ((), ("held_out=cpu",)))
    card(31.5, 31)
    said = machine.memory(doctor.Command([typed], "", False)).said
    assert f"about {counted.loading(aside) / GIB:.0f} needed" in said and counted.loading(aside) > counted.loading(
        typed
    )


# --- programs that are missing, fail or hang


def program(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


SMI = "| NVIDIA-SMI 580.82.07    Driver Version: 580.82.07    CUDA Version: 13.0     |"


@pytest.mark.parametrize(
    ("script", "state", "says"),
    [
        (f"echo '{SMI}'", "OK", "580.82.07, for CUDA up to 13.0"),
        (
            "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver'; exit 9",
            "wrong",
            "failed",
        ),
        ("sleep 60", "wrong", "does not answer"),
        ("echo nonsense", "wrong", "nonsense"),
    ],
)
def test_the_driver(script: str, state: str, says: str, compose: Any, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 0.5)
    program(tmp_path / "bin", "nvidia-smi", script, monkeypatch)
    check = gpu.driver(run(compose))
    assert check.state == state and says in check.said
    assert gpu.driver(run(compose, model="shapes")).well


def test_slurm_is_asked_only_where_the_command_goes_there(ask: Asked, tmp_path: Path, monkeypatch) -> None:
    program(tmp_path / "bin", "sbatch", "exit 0", monkeypatch)
    program(tmp_path / "bin", "sinfo", "echo 'gpu*'; echo debug", monkeypatch)
    launched = ("-m", "model=shapes", "method=none,ours", "hydra/launcher=slurm")
    code, found = ask(*launched)
    assert code == 0 and "partitions gpu*, debug" in found["slurm"]["said"]
    assert ask("model=shapes")[1]["slurm"]["state"] == "note"
    assert ask(*launched[:-1], "hydra/launcher=local")[1]["slurm"]["state"] == "note", "the GPUs of this machine"
    program(tmp_path / "bin", "sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1", monkeypatch)
    assert "Unable to contact" in ask(*launched)[1]["slurm"]["said"]
    monkeypatch.setenv("PATH", "")
    code, found = ask(*launched)
    assert code == 1 and found["slurm"]["state"] == "missing"
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(slurm.shutil, "which", lambda _: "/usr/bin/sbatch")
    assert "gradproj[slurm]" in slurm.slurm(doctor.Command([], "", launched=True)).line()


def test_whatever_a_check_raises_is_its_answer(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a fault")

    for module, name in ((machine, "packages"), (gpu, "gpu"), (files.weights, "needed"), (slurm, "slurm")):
        monkeypatch.setattr(module, name, fail)
    code, found = ask("model=shapes")
    assert code == 1
    for name in ("packages", "gpu", "settings", "hub", "weights", "slurm"):
        assert "could not be looked at (ZeroDivisionError: a fault)" in found[name]["said"]


def test_a_package_out_of_its_range_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    version = machine.version
    monkeypatch.setattr(machine, "version", lambda name: "0.1" if name == "diffusers" else version(name))
    assert "diffusers 0.1 (" in machine.packages().said
    monkeypatch.setattr(machine, "requires", lambda _: ["torch>=99", "nowhere>=1", "pytest>=99; extra == 'dev'"])
    check = machine.packages()
    assert (
        check.state == "wrong" and "torch" in check.said and "nowhere>=1" in check.said and "pytest" not in check.said
    )


def test_prompts_that_are_to_be_fetched(ask: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from gradproj.cli import prompts

    monkeypatch.setattr(prompts, "DEFAULT", tmp_path / "t2i.txt")
    code, found = ask("prompts=t2i")
    assert code == 1 and found["prompts"]["advice"] == "type gradproj prompts fetch"
    (tmp_path / "t2i.txt").write_text("a thing\n")
    assert ask("prompts=t2i")[0] == 0
