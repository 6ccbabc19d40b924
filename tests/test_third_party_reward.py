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
import torch
from conftest import GRADPROJ, Gradproj
from PIL import Image as Pillow
from scored import DOCS, EXAMPLE, launch, recorded
from test_contracts import directional, to_8_bit
from test_contracts import pictures as contract_pictures
from test_report import table

from gradproj.report import build
from gradproj.runs import scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

script = scored.script


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "rewards.md").read_text(), re.DOTALL)


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


def test_the_pages_own_check_holds(example: Any) -> None:
    exec(blocks("python")[1], {})


@pytest.mark.parametrize("size", [(32, 32), (48, 64)], ids=str)
def test_the_example_keeps_the_contract(example: Any, size: tuple[int, int]) -> None:
    reward, prompts = example.NamedColour(width=0.5), ["a red ring", "a blue square", "a white circle"]
    image = contract_pictures(*size)
    text = reward.encode(prompts)
    value = reward(image, text)
    assert value.shape == (3,) and value.dtype == torch.float32
    for i in range(3):
        alone = reward(image[i : i + 1], reward.encode(prompts[i : i + 1]))
        torch.testing.assert_close(value[i : i + 1], alone)
    slope, difference = directional(lambda one: reward(one, text).sum(), image.double(), 1)
    assert slope == pytest.approx(difference, rel=1e-5) != 0
    official, levels = to_8_bit(image)
    given = reward.score([official[0], official[1], official[2].resize((9, 7))], prompts)
    assert given.device.type == "cpu" and given.dtype == torch.float32 and not given.requires_grad
    torch.testing.assert_close(given[:2], reward(levels, text)[:2])
    grey = official[0].convert("L")
    modes = [reward.score([grey.convert(mode)], prompts[:1]) for mode in ("L", "RGB", "RGBA")]
    assert torch.equal(modes[0], modes[1]) and torch.equal(modes[0], modes[2])


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
    shown = [shlex.split(line) for line in "".join(blocks("sh")).splitlines() if line and line[0] != "#"]
    assert shown[0] == ["export", "PYTHONPATH=example_reward"]
    climbed, _, _, held_out, again = shown[1:]
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
    given = scores.read(do(held_out, "after", "held_out=after"))["named_colour"]
    assert given.values[ImageId(0, 0)][0] == pytest.approx(start, rel=1e-5)
    old = launch(tmp_path / "old", *small, "reward=shapes_matcher", "rewards=[shapes_matcher]", "seeds=1")
    monkeypatch.chdir(tmp_path)
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
    command = [shlex.split(line) for line in "".join(blocks("sh")).splitlines() if line and line[0] != "#"][place]
    code, out, _ = gradproj(*command[1:], "--cfg", "job", folder=tmp_path)
    assert code == 0
    expected = "width: 0.3" if place == 2 else "named_colour: 0.2"
    assert expected in out
