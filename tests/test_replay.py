"""``gradproj replay`` on runs of the miniature, made as a user would: the same, edited, other weights, animations."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import GRADPROJ, names_of
from PIL import Image as Pillow

from gradproj.execution.replay import TOLERANCE, deviations
from gradproj.runs.folder import Run, run_id


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("replay")
    settings = ["prompts=[a red ring,a blue square]", "steps=6", "score_every=4", "seeds=2", "batch=4", "keep=best"]
    settings += ["method.optimizer.lr=0.2"]  # far enough for rounding to show
    subprocess.run([*GRADPROJ, "run", *settings], cwd=folder, check=True, capture_output=True)
    (found,) = (folder / "results" / "runs").iterdir()
    return Run.open(found)


def replay(run: Run, *arguments: str) -> Any:
    return subprocess.run([*GRADPROJ, "replay", run.folder, *arguments], capture_output=True, text=True, check=False)


def test_an_image_made_beside_its_own_copies_is_the_one_of_the_batch(made: Run) -> None:
    path = made.images / "0001-1.png"
    before = {one.name: one.read_bytes() for one in made.images.iterdir()}
    path.unlink()
    done = replay(made, "0001-1")
    assert done.returncode == 0, done.stderr
    assert f"the same numbers (tolerance {TOLERANCE:g}, batch=4)" in done.stdout and str(path) in done.stdout
    assert all(line.split()[1] == "0" for line in done.stdout.splitlines() if "of its range" in line)  # bit for bit
    assert {one.name: one.read_bytes() for one in made.images.iterdir()} == before


def test_a_long_way_needs_the_batch_of_then(tmp_path: Path) -> None:
    settings = ["prompts=[a red ring,a blue square]", "steps=120", "seeds=4", "batch=8", "method=reno"]
    subprocess.run([*GRADPROJ, "run", *settings], cwd=tmp_path, check=True, capture_output=True)
    (run,) = (Run.open(path) for path in (tmp_path / "results" / "runs").iterdir())
    for image in ("0000-0", "0001-3"):
        done = replay(run, image)
        assert done.returncode == 0 and "batch=8" in done.stdout, done.stdout
        assert all(float(line.split()[1]) < 1e-4 for line in done.stdout.splitlines() if "of its range" in line)


def test_a_record_with_another_number_is_not_the_same(made: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path, made.config, {})
    lines = (made.images / "0000-0.csv").read_text().splitlines()[:-1]
    cells = lines[4].split(",")
    cells[2] = f"{float(cells[2]) + 0.5:.6g}"  # the climbed reward of step 3
    text = "\n".join([*lines[:4], ",".join(cells), *lines[5:], ""]).encode()
    seal = f"# sha256 {hashlib.sha256(text).hexdigest()}\n".encode()
    (other.images / "0000-0.csv").write_bytes(text + seal)
    done = replay(other, "0000-0")
    assert done.returncode == 1
    assert "NOT the same" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "more than the tolerance" in line]
    assert line.startswith("reward ")
    assert not list(other.images.glob("*.png"))  # pictures of other numbers are not put beside a record


def test_an_animation_and_a_strip_of_the_way(made: Run) -> None:
    done = replay(made, "0000-1", "--gif")
    assert done.returncode == 0, done.stderr
    with Pillow.open(made.images / "0000-1.gif") as moving:
        frames: int = getattr(moving, "n_frames")  # noqa: B009
        assert (frames, moving.size) == (7, (256, 256))
        moving.seek(0)
        first = np.asarray(moving.convert("RGB"), dtype=float)[::8, ::8]
    with Pillow.open(made.images / "0000-1-start.png") as start:
        assert np.abs(first - np.asarray(start.convert("RGB"), dtype=float)).mean() < 8  # 256 colours
    with Pillow.open(made.images / "0000-1-steps.png") as strip:
        assert strip.size[0] == 3 * 128  # steps 0, 4 and 6
    assert names_of(made) == {"0000-0", "0000-1", "0001-0", "0001-1"}


@pytest.mark.parametrize("image", ["0009-0", "red", "0000-0.csv"])
def test_an_image_that_is_not_there(made: Run, image: str) -> None:
    done = replay(made, image)
    assert done.returncode == 2
    assert done.stderr.startswith("gradproj replay: ") and "0000-0" in done.stderr and "Traceback" not in done.stderr


def test_other_weights_are_refused(made: Run, tmp_path: Path) -> None:
    config = yaml.safe_load((made.folder / "config.yaml").read_text())
    config["weights"]["shapes_matcher"]["matcher.safetensors"] = "0" * 64
    other = Run.create(tmp_path, config, {})
    assert other.folder.name == run_id(config)
    (other.images / "0000-0.csv").write_bytes((made.images / "0000-0.csv").read_bytes())
    done = replay(other, "0000-0")
    assert done.returncode == 2
    assert "shapes_matcher has other weights" in done.stderr


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
