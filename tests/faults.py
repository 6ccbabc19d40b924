"""What the tests of a sweep's misfortunes share: one worker, an undisturbed run, and ``gradproj status``."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIGS, Gradproj
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from gradproj.execution import worker
from gradproj.execution.outcome import Outcome
from gradproj.execution.settings import keys
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, Share
from gradproj.runs.record import labelled, unlabelled

BASE = (
    "prompts=[a red ring,a blue square and a white circle,an orange cross]",
    "rewards=[shapes_aesthetic,shapes_matcher]",
    "steps=4",
    "score_every=3",
    "method.optimizer.lr=1",
    "seeds=2",
    "batch=1",
)
ALL = {ImageId(prompt, seed) for prompt in range(3) for seed in range(2)}


def work(folder: Path, *overrides: str, method: str = "ours") -> Outcome:
    """One worker of the miniature within this process, its results in ``folder``."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra_compose("config", [*BASE, f"method={method}", f"results={folder}", *overrides])
    settings = keys.check(config)
    return worker.complete(settings, settings["prompts"], "shapes", method)


def without_seconds(run: Run) -> dict[str, Any]:
    """Every record's rows apart from the seconds, as text, and every picture's bytes."""
    rows = {str(image): run.table(image).drop(columns="seconds").to_csv() for image in run.recorded()}
    return rows | {path.name: path.read_bytes() for path in run.images.glob("*.png")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    """A run that met no misfortune, and what it left."""
    run = work(tmp_path_factory.mktemp("reference")).run
    return run, without_seconds(run)


@pytest.fixture
def copied(tmp_path: Path, reference: tuple[Run, dict[str, Any]]) -> Run:
    """A copy of that run, which a test may damage."""
    shutil.copytree(reference[0].folder.parent, tmp_path / "runs")
    return Run.open(tmp_path / "runs" / reference[0].folder.name)


Shown = Callable[..., tuple[Any, str]]


@pytest.fixture
def look(gradproj: Gradproj) -> Shown:
    """``gradproj status`` within this process: exit code and what it says."""

    def shown(*arguments: object) -> tuple[Any, str]:
        code, out, err = gradproj("status", *arguments)
        return code, out + err

    return shown


def recorded(results: Path, prompts: int = 4, seeds: int = 1) -> Run:
    """A run in which that many images are recorded, without pictures."""
    config = {"names": {"model": "m", "method": "n", "reward": "r"}, "steps": 1, "rewards": {"red": None}}
    run = Run.create(
        results, config | {"model": {}, "prompts": [f"p{number}" for number in range(prompts)]}, {"device": "a device"}
    )
    progress.ask(run, seeds)
    run.write(ImageId(0, 0), [{"step": 0.0, "seconds": 0.0}, {"step": 1.0, "seconds": 0.5}], {})
    _, csv = unlabelled(run.record(ImageId(0, 0)).read_bytes()) or ({}, b"")
    for image in Share(prompts, seeds):
        label = {"run": run.folder.name, "image": str(image), "prompt": f"p{image.prompt}"}
        run.record(image).write_bytes(labelled(label, csv.decode()))
    return run
