"""What the tests of a sweep's misfortunes share: one undisturbed run, and ``gradproj status`` within this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import test_command_line as line
from conftest import Gradproj, names_of

from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

inside, small_disk = line.inside, line.small_disk
Inside = line.Inside
BASE = (*line.SETTINGS, "seeds=2", "batch=1")


def without_seconds(run: Run) -> dict[str, Any]:
    """Every record's rows apart from the seconds, as text, and every picture's bytes."""
    rows = {name: pd.read_csv(run.images / f"{name}.csv", comment="#", dtype=str) for name in names_of(run)}
    pictures = {path.name: path.read_bytes() for path in run.images.glob("*.png")}
    return {name: one.drop(columns="seconds").to_csv() for name, one in rows.items()} | pictures


Shown = Callable[..., tuple[Any, str]]


@pytest.fixture
def look(gradproj: Gradproj) -> Shown:
    """``gradproj status`` within this process: exit code and what it says."""

    def shown(*arguments: object) -> tuple[Any, str]:
        code, out, err = gradproj("status", *arguments)
        return code, out + err

    return shown


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("reference")
    done = line.command(folder, *BASE)
    assert done.returncode == 0, done.stderr
    return line.only_run(folder), without_seconds(line.only_run(folder))


@pytest.fixture
def copy_of_reference(tmp_path: Path, reference: tuple[Run, dict[str, Any]]) -> Run:
    line.shutil.copytree(reference[0].folder.parents[1], tmp_path / "results")
    return line.only_run(tmp_path)


def recorded(results: Path, prompts: int = 4, seeds: int = 1) -> Run:
    """A run in which that many images are recorded, without pictures."""
    config = {"names": {"model": "m", "method": "n", "reward": "r"}, "steps": 1, "rewards": {"red": None}}
    run = Run.create(
        results, config | {"model": {}, "prompts": [f"p{number}" for number in range(prompts)]}, {"device": "a device"}
    )
    progress.ask(run, seeds)
    run.write(ImageId(0, 0), [{"step": 0.0, "seconds": 0.0}, {"step": 1.0, "seconds": 0.5}], {})
    content = (run.images / "0000-0.csv").read_bytes()
    for prompt in range(prompts):
        for seed in range(seeds):
            (run.record(ImageId(prompt, seed))).write_bytes(content)
    return run
