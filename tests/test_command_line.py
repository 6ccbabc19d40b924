"""``gradproj run`` as people type it: in a folder of its own, killed, starved, going on. Slips: bad_inputs.yaml."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import processes
import pytest
import yaml
from conftest import Gradproj, names_of
from PIL import Image as Pillow

from gradproj.miniature import weights
from gradproj.runs.folder import COLUMNS, Run
from gradproj.runs.pictures import before_after

ROOT = Path(__file__).parents[1]
PROMPTS = ["a red ring", "a blue square and a white circle", "an orange cross"]
SCORES = ["shapes_aesthetic", "shapes_matcher"]
SETTINGS = (
    f"prompts={json.dumps(PROMPTS)}",
    f"rewards=[{','.join(SCORES)}]",
    "steps=4",
    "score_every=3",
    "method.optimizer.lr=0.001",  # a large step would make much of the last bits
)
ALL = {f"{prompt:04d}-{seed}" for prompt in range(3) for seed in range(2)}
HANGING = 600  # seconds: not a promise, only the end of a process that waits for ever


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | more


def command(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One ``gradproj run`` in ``folder``, in a process of its own."""
    return processes.command(folder, "run", *arguments, environment=environment(**more), seconds=HANGING)


def complete(folder: Path, *arguments: str, **more: str) -> Run:
    """The same, which must succeed; the one run there."""
    done = command(folder, *SETTINGS, "seeds=2", *arguments, **more)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return only_run(folder)


def only_run(folder: Path) -> Run:
    (found,) = (folder / "results" / "runs").iterdir()
    return Run.open(found)


def refused(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    """Exit code 2, nothing on stdout, at most Hydra's line and ours on stderr, and ours says what is expected."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= 2 and lines[-1].startswith("gradproj run: "), done.stderr
    for fragment in expected:
        assert fragment in lines[-1]


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file under ``folder`` was written, and its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def table(run: Run, name: str) -> Any:
    return pd.read_csv(run.images / f"{name}.csv", comment="#")


def same_records(run: Run, expected: Run, names: set[str] = ALL) -> None:
    """Equal numbers (apart from seconds) and pictures, up to what another batch does to the last bits."""
    assert run.folder.name == expected.folder.name
    assert names <= names_of(run) and names <= names_of(expected)
    for name in names:
        mine, other = (table(one, name).drop(columns="seconds") for one in (run, expected))
        assert list(mine.columns) == list(other.columns)
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
        for suffix in ("-start", ""):
            mine, other = (pixels(one.images / f"{name}{suffix}.png") for one in (run, expected))
            assert mine.shape == other.shape
            assert np.abs(mine - other).max() <= 1 and (mine != other).mean() < 0.01


def pixels(path: Path) -> Any:
    with Pillow.open(path) as picture:
        return np.asarray(picture).astype(int)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder and the output of one undisturbed run: three prompts, two seeds."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, command(folder, *SETTINGS, "seeds=2", "batch=2")


@pytest.fixture
def copy(whole: tuple[Path, Any], tmp_path: Path) -> Path:
    """A folder with a copy of that run."""
    shutil.copytree(whole[0] / "results", tmp_path / "results")
    return tmp_path


Inside = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, gradproj: Gradproj) -> Inside:
    """``gradproj run`` within this process: (folder, *arguments) -> exit code, stdout, stderr."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return lambda folder, *arguments: gradproj("run", *arguments, folder=folder)


# --- what a run leaves


def test_a_run_leaves_its_settings_records_and_pictures_and_says_where(whole: tuple[Path, Any]) -> None:
    folder, done = whole
    assert done.returncode == 0, done.stderr
    run = only_run(folder)
    assert names_of(run) == ALL
    assert {path.name for path in folder.iterdir()} == {"results"}
    expected = {f"images/{name}{end}" for name in ALL for end in (".csv", ".png", "-start.png")}
    assert set(state(run.folder)) == expected | {"config.yaml", "env.json", "wanted.json", "before_after.png"}
    for name in ALL:
        assert list(table(run, name).columns) == [*COLUMNS, *SCORES]
        assert table(run, name).step.tolist() == [0, 1, 2, 3, 4]
        assert not np.array_equal(pixels(run.images / f"{name}.png"), pixels(run.images / f"{name}-start.png"))
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert (config["prompts"], config["steps"], list(config["rewards"])) == (PROMPTS, 4, SCORES)
    assert config["method"]["optimizer"]["lr"] == 0.001
    facts = json.loads((run.folder / "env.json").read_text())
    assert facts["command"][1:] == [*SETTINGS, "seeds=2", "batch=2"]
    printed = dict(re.findall(r"^(records|before/after):\s+(\S+)$", done.stdout, re.MULTILINE))
    assert (folder / printed["records"]).samefile(run.images)
    assert (folder / printed["before/after"]).samefile(run.folder / "before_after.png")
    assert "6 to do" in done.stdout and f"{run.folder.name} |" in done.stdout


def test_the_sheet_shows_start_above_kept_for_every_image(whole: tuple[Path, Any]) -> None:
    run = only_run(whole[0])
    sheet = pixels(run.folder / "before_after.png")
    side = 96
    assert sheet.shape[1] == len(ALL) * side
    for column, name in enumerate(sorted(ALL)):
        for row, suffix in enumerate(("-start", "")):
            tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert np.array_equal(tile[1::3, 1::3], pixels(run.images / f"{name}{suffix}.png"))  # 96 = 3 x 32


def test_a_start_without_its_kept_picture_does_not_stop_the_sheet(copy: Path) -> None:
    """As another shard, or a kill, leaves it between two files."""
    run = only_run(copy)
    shutil.copy(run.images / "0000-0-start.png", run.images / "0009-0-start.png")
    sheet = before_after(run)
    assert sheet is not None
    assert pixels(sheet).shape[1] == len(ALL) * 96


def test_the_last_score_is_the_mean_that_is_printed(whole: tuple[Path, Any]) -> None:
    folder, done = whole
    tables = [table(only_run(folder), name) for name in ALL]
    for score in SCORES:
        printed = re.search(rf"\| {score} (\S+) -> (\S+) ", done.stdout)
        assert printed
        means = [np.mean([one[score].iloc[row] for one in tables]) for row in (0, -1)]
        assert [float(number) for number in printed.groups()] == pytest.approx(means, rel=1e-3)


# --- going on


def test_the_same_command_again_does_nothing_and_says_so(copy: Path) -> None:
    before = state(copy)
    done = command(copy, *SETTINGS, "seeds=2", "batch=2")
    assert done.returncode == 0, done.stderr
    assert "6 of 6 images recorded, 0 to do" in done.stdout
    after = state(copy)
    drawn_again = str((only_run(copy).folder / "before_after.png").relative_to(copy))
    assert before.pop(drawn_again)[1] == after.pop(drawn_again)[1]
    assert after == before


def test_more_seeds_another_batch_and_another_way_to_write_a_number_continue_the_run(
    whole: tuple[Path, Any], tmp_path: Path
) -> None:
    first = command(tmp_path, *SETTINGS, "batch=1")
    assert first.returncode == 0, first.stderr
    one_seed = state(tmp_path)
    run = complete(tmp_path, "method.optimizer.lr=1e-3", "batch=4")
    after = state(tmp_path)
    same = [name for name in one_seed if not name.endswith(("before_after.png", "wanted.json"))]
    assert all(after[name] == one_seed[name] for name in same)
    same_records(run, only_run(whole[0]))


def test_shards_in_any_order_and_another_number_of_them_complete_the_same_run(
    whole: tuple[Path, Any], tmp_path: Path, inside: Inside
) -> None:
    for shard, shards, left in ((2, 3, 2), (0, 3, 2)):
        done = command(tmp_path, *SETTINGS, "seeds=2", "batch=1", f"shards={shards}", f"shard={shard}")
        assert done.returncode == 0, done.stderr
        assert f"{left} to do" in done.stdout
    for shard, left in ((1, 1), (0, 1), (1, 0)):
        code, out, error = inside(tmp_path, *SETTINGS, "seeds=2", "batch=1", "shards=2", f"shard={shard}")
        assert code == 0, error
        assert f"of 3 images recorded, {left} to do" in out
    same_records(only_run(tmp_path), only_run(whole[0]))


def test_a_killed_run_leaves_whole_records_and_the_same_command_finishes_it(
    whole: tuple[Path, Any], tmp_path: Path
) -> None:
    process = processes.Command(tmp_path, "run", *SETTINGS, "seeds=2", "batch=1", environment=environment())
    end = time.monotonic() + HANGING
    while not (found := list(tmp_path.rglob("*.csv"))) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and found
    run = only_run(tmp_path)
    early = names_of(run)
    assert early and early < ALL
    same_records(run, only_run(whole[0]), early)
    before = state(run.images)
    finished = complete(tmp_path, "batch=1")
    after = state(run.images)
    assert all(after[f"{name}.csv"] == before[f"{name}.csv"] for name in early)
    same_records(finished, only_run(whole[0]))


def test_several_methods_in_one_command_are_several_runs_from_the_same_noise(tmp_path: Path) -> None:
    done = command(tmp_path, "-m", *SETTINGS, "method=none,ours")
    assert done.returncode == 0, done.stderr
    runs = [Run.open(folder) for folder in sorted((tmp_path / "results" / "runs").iterdir())]
    assert [run.folder.name.split("-")[1] for run in runs] == ["none", "ours"]
    for name in ("0000-0", "0001-0", "0002-0"):
        starts = [(run.images / f"{name}-start.png").read_bytes() for run in runs]
        assert starts[0] == starts[1]
        kept = [(run.images / f"{name}.png").read_bytes() for run in runs]
        assert kept[0] != kept[1]


# --- what is refused


def test_an_edited_record_is_moved_aside_and_made_again(copy: Path, whole: tuple[Path, Any]) -> None:
    path = only_run(copy).images / "0001-1.csv"
    path.write_text(re.sub(r"\n4,", "\n4,9", path.read_text(), count=1))
    edited, before = path.read_bytes(), state(copy)
    done = command(copy, *SETTINGS, "seeds=2", "batch=2")
    assert done.returncode == 0, done.stderr
    assert "5 of 6 images recorded, 1 to do" in done.stdout and "1 damaged records (0001-1" in done.stdout
    assert path.with_suffix(".csv.damaged").read_bytes() == edited
    same_records(only_run(copy), only_run(whole[0]))
    changed = {Path(name).name for name, one in state(copy).items() if before.get(name) != one}
    assert changed == {f"0001-1{end}" for end in (".csv", ".csv.damaged", ".png", "-start.png")} | {"before_after.png"}


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_cut_or_foreign_weights_are_refused_and_nothing_is_touched(
    copy: Path, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    shutil.copytree(weights.FOLDER, tmp_path / "weights")
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    file = weights.FOLDER / "aesthetic.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if damage == "cut" else file.with_stem("matcher").read_bytes())
    before = state(copy / "results")
    code, out, error = inside(copy, *SETTINGS, "seeds=3")
    refused(subprocess.CompletedProcess([], code, out, error), str(file), "sha256", "restore it")
    assert state(copy / "results") == before


def test_failed_images_give_exit_code_1_and_are_tried_again(inside: Inside, tmp_path: Path) -> None:
    mix = "reward={shapes_aesthetic: 1e39, shapes_matcher: 1}"  # infinite in float32: no usable gradient
    overflow = [*SETTINGS, mix, "rewards=[shapes_aesthetic,shapes_matcher]", "max_skips=1"]
    for _ in range(2):
        code, out, error = inside(tmp_path, *overflow)
        assert code == 1
        assert "0 of 3 images recorded, 3 to do" in out
        assert "3 images" in error and "Traceback" not in error
        run = only_run(tmp_path)
        assert {path.name for path in run.images.iterdir()} == {f"{prompt:04d}-0.failed" for prompt in range(3)}


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for some pictures; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot make a small disk: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_with_a_word_and_with_room_the_same_command_finishes(
    small_disk: Path, whole: tuple[Path, Any]
) -> None:
    done = command(small_disk, *SETTINGS, "seeds=2", "batch=1")
    refused(done, "no space left", "same command")
    run = only_run(small_disk)
    early = names_of(run)
    assert early and early < ALL
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    same_records(complete(small_disk, "batch=1"), only_run(whole[0]))


def test_a_disk_that_is_full_for_the_last_sheet_is_said_too(
    copy: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    before = state(copy)
    code, out, error = inside(copy, *SETTINGS, "seeds=2")
    refused(subprocess.CompletedProcess([], code, out, error), "space")
    assert state(copy) == before
