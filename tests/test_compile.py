"""``compile=true``: the same numbers, no graph break in a block, nothing compiled after the warm-up, never silent."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GRADPROJ, Gradproj
from fakes import Model, Red, experiment, sgd
from official import build
from tiny import models, rewards
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor.runtime import runtime_utils

from gradproj.execution import compiled
from gradproj.execution.compiled import CACHE, warm_up, warmed_up
from gradproj.execution.experiment import Experiment
from gradproj.miniature.generator import Transformer
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

KEPT = {"checkpointing": "none", "decoder_checkpointing": "none"}
AGAIN = {"checkpointing": "blocks", "decoder_checkpointing": "blocks"}
CASES = {
    "sd_turbo-plain": ("pickscore", "float32", AGAIN),
    "sdxl_turbo-plain": ("aesthetic", "float32", KEPT),
    "flux-plain": ("hpsv2", "float32", AGAIN),
    "sana_sprint-plain": ("imagereward", "float32", AGAIN),
}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt-get install g++")


def parts(case: str, name: str, dtype: str, memory: dict[str, Any]) -> Experiment:
    towers = {"checkpointing": memory["checkpointing"]}
    judge = build(name, {**rewards.files(name), **towers})
    model = models.build(case, dtype=dtype, **memory)
    given: dict[str, Any] = {"rewards": {name: judge}, "target": {name: 1.0}, "method": sgd(1e-2), "steps": 2}
    return experiment(model=model, **given, prompts=["a dog", "a cat"])


def numbers(made: Experiment, batch: int) -> list[torch.Tensor]:
    """Pictures, rewards, gradient norms and latents of two steps and the last."""
    steps = list(made.iterate([ImageId(0, seed) for seed in range(batch)], 2))
    return [
        torch.stack([getattr(step, name).double() for step in part])
        for name, part in (("image", steps), ("reward", steps), ("gradient_norm", steps[:-1]), ("latent", steps))
    ]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are traced, forward and backward, but run by torch's own kernels: to generate code takes long."""
    real = nn.Module.compile

    def compile(self: nn.Module, **given: Any) -> None:
        assert given == {"fullgraph": True, "dynamic": False}
        real(self, **given, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile)
    torch._dynamo.reset()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("traced")
def test_every_kind_of_block_is_one_graph_and_gives_the_same_numbers(case: str) -> None:
    """Also where blocks are computed again in the backward pass, and in scores without gradient."""
    made = parts(case, *CASES[case])
    model: Any = made.model
    near = 5e-5  # another order of the same sums
    plain = [numbers(made, batch) for batch in (2, 3)]
    counters.clear()
    facts = warm_up(made, [2, 2])
    assert facts["failed"] is None and not counters["graph_break"]
    towers = [network for part in (model, *made.rewards.values()) for network in [part.network]]
    towers += [model.decoder.decoder]
    blocks = {module for network in towers for module in network.modules() if module._compiled_call_impl}
    inside = {module for block in blocks for module in block.modules() if module is not block}
    assert not blocks & inside, "a block has blocks of its own in its graph"
    for network in towers:
        assert any(module._compiled_call_impl for module in network.modules()), type(network)
    graphs = dict(counters["stats"])
    with warmed_up(made, facts):
        again = [numbers(made, batch) for batch in (2, 3)]
    assert dict(counters["stats"]) == graphs, "another batch is not compiled for"
    for one, other in zip(plain, again, strict=True):
        for expected, found in zip(one, other, strict=True):
            torch.testing.assert_close(found, expected, rtol=near, atol=near / 10)
    assert not any(module._compiled_call_impl for network in towers for module in network.modules())


class Deep(Model):
    """Three equal blocks before the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleList(Transformer(6, 4, heads=2) for _ in range(3)).requires_grad_(False)

    def generate(self, latent: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        tokens = latent.reshape(len(latent), -1, 6)
        for block in self.network:
            tokens = block(tokens, torch.zeros(len(latent), 4))
        return super().generate(tokens.view_as(latent), condition)


@pytest.mark.usefixtures("traced")
def test_equal_blocks_share_a_graph_for_each_batch_with_gradient_and_without() -> None:
    counters.clear()
    assert warm_up(experiment(model=Deep(), rewards={"red": Red()}, prompts=["a dog"]), [2, 3, 2])["failed"] is None
    assert counters["stats"]["unique_graphs"] == 4


@needs_compiler
def test_generated_code_gives_the_same_pictures_and_gradients_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process would find: after a reset nothing of this one is left in memory."""
    monkeypatch.setenv(CACHE, str(tmp_path))
    monkeypatch.setattr(compiled, "BLOCKS", {})  # the transformer's alone: code takes seconds a graph
    torch._dynamo.reset()
    made = experiment(model=models.build("flux-plain"), rewards={"red": Red()}, prompts=["a dog"], method=sgd(1e-2))
    plain = numbers(made, 1)
    facts = warm_up(made, [1])
    assert facts["failed"] is None and facts["cache"] == str(tmp_path)
    with warmed_up(made, facts):
        for expected, found in zip(plain, numbers(made, 1), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
    counters.clear()
    assert warm_up(made, [1])["failed"] is None
    found = counters["inductor"]
    assert (
        found["fxgraph_cache_miss"] == 0 < found["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
    )


def test_without_a_compiler_everything_runs_as_without_it_and_says_so(tmp_path: Path) -> None:
    words = ["run", "steps=2", "score_every=2", 'prompts=["a red ring","a blue cross"]']
    told = {**os.environ, CACHE: str(tmp_path / "cache"), "CXX": "/nowhere/g++"}
    records, texts = [], []
    for more in ("false", "true"):
        command = [*GRADPROJ, *words, f"compile={more}", f"results={tmp_path / more}"]
        done = subprocess.run(command, env=told, capture_output=True, text=True, check=True, cwd=tmp_path)
        (folder,) = (tmp_path / more / "runs").iterdir()
        run = Run.open(folder)
        records.append([run.table(image).drop(columns="seconds") for image in sorted(run.recorded())])
        texts.append((done.stdout, json.loads((folder / "env.json").read_text())["compile"], folder.name))
    for plain, other in zip(*records, strict=True):
        np.testing.assert_array_equal(plain, other)
    (said, facts, name), (loud, failed, same) = texts
    assert "compile:" not in said and facts is None and name == same
    (line,) = (line for line in loud.splitlines() if line.startswith("compile: "))
    assert "left out, all runs as without it" in line and "No working C++ compiler" in line
    assert "No working C++ compiler" in failed["failed"] and failed["blocks"] == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, type("Ended", (RuntimeError,), {})])
def test_what_ends_the_worker_ends_it_in_the_warm_up_too(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """It is no failure to compile, and it leaves no block behind that is compiled at its next call."""
    made = experiment(model=models.build("flux-plain"), rewards={"red": Red()}, prompts=["a dog"])

    def stop(*_: Any) -> None:
        raise error

    monkeypatch.setattr(compiled.scheduler, "interruptions", lambda: (error,) * issubclass(error, Exception))
    monkeypatch.setattr(Experiment, "iterate", stop)
    with pytest.raises(error):
        warm_up(made, [1])
    assert not any(module._compiled_call_impl for module in made.model.network.modules())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("traced")
def test_a_run_goes_on_compiled_and_each_record_says_how_it_was_made(tmp_path: Path, gradproj: Gradproj) -> None:
    words = ["run", "steps=1", "prompts=[a red ring]", "rewards=[shapes_aesthetic]"]
    for more in (["seeds=1"], ["seeds=2", "compile=true"], ["seeds=3"]):
        said = gradproj(*words, *more, folder=tmp_path)
        assert said.code == 0 and ("warmed up" in said.out) == (len(more) > 1), said.err
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    run = Run.open(folder)
    assert [run.label(ImageId(0, seed)).get("compiled") for seed in range(3)] == [None, True, None]
    assert json.loads((folder / "env.json").read_text())["compile"] is None, "of the command that made the folder"
    for seed in range(2):
        again = gradproj("replay", folder, f"0000-{seed}", "--batch", "1")
        assert again.code == 0 and ("warmed up" in again.out) == bool(seed), again.out + again.err


def test_compiled_code_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv(CACHE, runtime_utils.default_cache_dir())  # as torch leaves it
    assert compiled._keep_code() == os.environ[CACHE] == str(tmp_path / "other" / "gradproj" / "compiled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv(CACHE)
    assert compiled._keep_code() == str(tmp_path / ".cache" / "gradproj" / "compiled")
    monkeypatch.setenv(CACHE, "/mine")
    assert compiled._keep_code() == os.environ[CACHE] == "/mine"
