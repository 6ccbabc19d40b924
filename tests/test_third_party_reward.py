"""A third party's reward: docs/rewards.md and its example."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scored
from conftest import GRADPROJ, Gradproj
from made_up import table
from PIL import Image as Pillow
from scored import DOCS, EXAMPLE, launch, recorded

from gradproj.cli import check_reward, replay
from gradproj.report.build import build
from gradproj.runs import scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

script = scored.script


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "rewards.md").read_text(), re.DOTALL)


def shown() -> list[list[str]]:
    """The commands of the page, in words."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line and line[0] != "#"]


def test_the_page_shows_the_very_files() -> None:
    assert blocks("python")[0] == (EXAMPLE / "named_colour.py").read_text()
    assert blocks("yaml") == [(EXAMPLE / "rewards" / "named_colour.yaml").read_text()]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's module, found as a person's own module is."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import named_colour  # type: ignore[import-not-found]

    yield named_colour
    sys.modules.pop("named_colour")


def test_the_example_measures_what_it_says(example: Any) -> None:
    reward = example.NamedColour(width=0.5)
    half = Pillow.new("RGB", (8, 8), (255, 0, 0))
    half.paste((0, 0, 255), (0, 0, 8, 4))
    given = reward.score([half, half, half], ["a red ring", "a blue ring", "the red of a blue sky"]).tolist()
    assert given == pytest.approx([(1 + np.exp(-2 / 0.5)) / 2] * 3, rel=1e-5)
    with pytest.raises(ValueError, match="'a ring' names no colour"):
        reward.encode(["a red ring", "a ring"])
    assert reward.weights == {"named_colour.py": hashlib.sha256((EXAMPLE / "named_colour.py").read_bytes()).hexdigest()}


def test_the_pages_commands_work_in_another_folder_without_a_change_in_gradproj(
    tmp_path: Path, script: Callable[..., Any], example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Climbed, held out after the run, and given to an old run: the last two agree."""
    shutil.copytree(EXAMPLE, tmp_path / "example_reward")
    first, climbed, _, _, held_out, again, replayed, check = shown()
    assert first == ["export", "PYTHONPATH=example_reward"]
    monkeypatch.chdir(tmp_path)
    assert check_reward.main(check[2:]) == 0
    small = ['prompts=["a red ring"]', "steps=3"]
    environment = os.environ | {
        "PYTHONPATH": f"example_reward:{DOCS.parent}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }

    def do(command: Sequence[str], results: str, *more: str) -> Run:
        assert command[:2] == ["gradproj", "run"]
        arguments = [*GRADPROJ, *command[1:], *small, f"results={results}", *more]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / results / "runs").iterdir()
        return Run.open(folder)

    run = do(climbed, "climbed")
    start, kept = recorded(run, "named_colour")[ImageId(0, 0)]
    assert kept > start
    assert run.config["rewards"]["named_colour"] == {"_target_": "named_colour.NamedColour", "width": 0.5}
    assert replay.main([str(run.folder), *replayed[3:]]) == 0
    given = scores.read(do(held_out, "after", "held_out=after"))["named_colour"]
    assert given.values[ImageId(0, 0)][0] == pytest.approx(start, rel=1e-5)
    old = launch(tmp_path / "old", *small, "reward=shapes_matcher", "rewards=[shapes_matcher]", "seeds=1")
    assert again[:2] == ["gradproj", "score"] and again[-1] == "results/runs/*"
    assert script(*again[2:-1], old.folder)[0] == 0
    assert scores.read(old)["named_colour"].checkpoint == given.checkpoint
    assert scores.read(old)["named_colour"].values[ImageId(0, 0)][0] == pytest.approx(start, rel=1e-5)
    build(tmp_path / "old")
    assert "named_colour" in table(tmp_path / "old").columns


@pytest.mark.parametrize("place", [2, 3])
def test_the_pages_other_commands_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradproj: Gradproj, place: int
) -> None:
    """A setting of its own, and a mix."""
    shutil.copytree(EXAMPLE, tmp_path / "example_reward")
    code, out, _ = gradproj(*shown()[place][1:], "--cfg", "job", folder=tmp_path)
    assert code == 0
    expected = "width: 0.3" if place == 2 else "named_colour: 0.2"
    assert expected in out
