"""``gradproj replay`` on a run of the miniature: the same, edited, other weights, animations."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from faults import work
from PIL import Image as Pillow

from gradproj.cli.replay import main
from gradproj.errors import UserError
from gradproj.execution.replay import TOLERANCE, deviations
from gradproj.files import sealed, unsealed
from gradproj.runs.folder import Run, run_id
from gradproj.runs.naming import ImageId

Replay = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ["prompts=[a red ring,a blue square]", "steps=6", "score_every=4", "batch=16", "keep=best"]
    folder = tmp_path_factory.mktemp("replay")
    return work(folder, *settings, "method.optimizer.lr=0.2", "threads=1").run  # far enough for rounding to show


@pytest.fixture
def copied(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.folder, tmp_path / made.folder.name)
    return Run.open(tmp_path / made.folder.name)


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    """``replay(run, "0000-1")``: exit code and what is printed."""

    def call(run: Run, *arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        return main([str(run.folder), *arguments]), capsys.readouterr().out

    return call


def test_an_image_is_made_again_to_the_bit_in_the_batch_and_with_the_threads_of_then(
    copied: Run, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in copied.images.iterdir()}
    copied.kept(ImageId(1, 1)).unlink()
    used, real = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: used.append(count) or real(count))
    code, said = replay(copied, "0001-1")
    assert code == 0 and used[0] == 1
    assert f"the same numbers (tolerance {TOLERANCE:g}, batch=4)" in said  # of the four that there were
    assert str(copied.kept(ImageId(1, 1))) in said
    assert all(line.split()[1] == "0" for line in said.splitlines() if "of its range" in line)  # bit for bit
    assert {path.name: path.read_bytes() for path in copied.images.iterdir()} == before


def test_without_the_batch_of_then_it_is_asked_for(copied: Run, replay: Replay) -> None:
    (copied.folder / "env.json").write_text("{}")
    with pytest.raises(UserError, match="give --batch N"):
        replay(copied, "0000-0")
    assert replay(copied, "0000-0", "--batch", "4")[0] == 0


def test_a_record_with_another_number_is_not_the_same(copied: Run, replay: Replay) -> None:
    path = copied.record(ImageId(0, 0))
    text = unsealed(path.read_bytes())
    assert text is not None
    lines = text.decode().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("3,"))
    cells = lines[at].split(",")
    cells[2] = f"{float(cells[2]) + 0.5:.6g}"  # the climbed reward of step 3
    path.write_bytes(sealed("\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :], ""]).encode()))
    for picture in copied.images.glob("*.png"):
        picture.unlink()
    code, said = replay(copied, "0000-0")
    assert code == 1 and "NOT the same" in said
    (line,) = [line for line in said.splitlines() if "more than the tolerance" in line]
    assert line.startswith("reward ")
    assert not list(copied.images.glob("*.png"))  # pictures of other numbers are not put beside a record


def test_an_animation_and_a_strip_of_the_way(copied: Run, replay: Replay) -> None:
    assert replay(copied, "0000-1", "--gif")[0] == 0
    with Pillow.open(copied.images / "0000-1.gif") as moving:
        frames: int = getattr(moving, "n_frames")  # noqa: B009
        assert (frames, moving.size) == (7, (256, 256))
        moving.seek(0)
        first = np.asarray(moving.convert("RGB"), dtype=float)[::8, ::8]
    with Pillow.open(copied.start(ImageId(0, 1))) as start:
        assert np.abs(first - np.asarray(start.convert("RGB"), dtype=float)).mean() < 8  # 256 colours
    with Pillow.open(copied.images / "0000-1-steps.png") as strip:
        assert strip.size[0] == 3 * 128  # steps 0, 4 and 6
    assert len(copied.recorded()) == 4


@pytest.mark.parametrize("image", ["0009-0", "red", "0000-0.csv"])
def test_an_image_that_is_not_there(made: Run, replay: Replay, image: str) -> None:
    with pytest.raises(UserError, match=image):
        replay(made, image)


def test_other_weights_are_refused(copied: Run, replay: Replay, tmp_path: Path) -> None:
    config = yaml.safe_load((copied.folder / "config.yaml").read_text())
    config["weights"]["shapes_matcher"]["matcher.safetensors"] = "0" * 64
    other = Run.create(tmp_path, config, {"batch": 4})
    assert other.folder.name == run_id(config)
    rows: Any = copied.table(ImageId(0, 1)).to_dict("records")
    other.write(ImageId(0, 1), rows, {})
    with pytest.raises(UserError, match="shapes_matcher has other weights"):
        replay(other, "0000-1")


def test_deviations_are_in_units_of_each_columns_range() -> None:
    recorded = pd.DataFrame(
        {"step": [0.0, 1, 2], "seconds": [0.0, 1, 2], "a": [0.0, 5, 10], "b": [3.0, 3, 3], "c": [1.0, np.nan, 2]}
    )
    again = recorded + pd.DataFrame(
        {"step": [0.0] * 3, "seconds": [9.0] * 3, "a": [0.0, 0.1, 0], "b": [0.0, 0.3, 0], "c": 0.0}
    )
    assert deviations(recorded, again).to_dict() == pytest.approx({"a": 0.01, "b": 0.1, "c": 0.0})
    again.loc[1, "c"] = 1.5  # a number where the record has none
    assert np.isinf(deviations(recorded, again)["c"])
