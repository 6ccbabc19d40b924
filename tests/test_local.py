"""hydra/launcher=local: a task on each GPU of one machine, none lost and none twice, whatever ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Gradproj
from processes import Command

from gradproj.errors import UserError
from gradproj.execution import local
from gradproj.execution.local import Place

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SECONDS = 500  # beside other work on few cores a task takes a minute to import torch
STEPS = 2
SMALL = (
    "model._target_=noting.Shapes",
    'prompts=["a red ring","a blue square","an orange cross"]',
    "rewards=[shapes_aesthetic]",
    f"steps={STEPS}",
    "batch=1",
)


@pytest.mark.parametrize(
    ("visible", "device", "tasks", "expected"),
    [
        ("5,7", "auto", None, ["5", "7"]),
        ("5, 7", None, 1, ["5"]),
        ("GPU-8932f937,GPU-1b2c", "cuda", None, ["GPU-8932f937", "GPU-1b2c"]),
        ("3,-1,4", "auto", None, ["3"]),  # as CUDA reads it: none after the first that is invalid
        ("5,7", "cpu", 3, [None] * 3),
        ("5,7", "cpu", None, [None] * CORES),
        ("", "auto", None, [None] * CORES),
        ("", "auto", 2, [None] * 2),
        (None, "auto", None, ["0", "1", "2"]),
    ],
)
def test_there_is_a_task_for_every_gpu_or_core(
    visible: str | None, device: str, tasks: int | None, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    places = local.places(device, tasks)
    assert [place.gpu for place in places] == expected
    threads = [place.threads for place in places]
    assert min(threads) >= 1 and (len(places) >= CORES or len(places) <= sum(threads) <= CORES)


@pytest.mark.parametrize(
    ("device", "tasks", "expected"),
    [
        ("auto", 3, r"here are 2 \(CUDA_VISIBLE_DEVICES=5,7\): type hydra.launcher.tasks=2"),
        ("cuda:1", None, "every task sees one GPU.*CUDA_VISIBLE_DEVICES=1 gradproj run"),
        ("auto", 0, "at least 1, or null, got 0"),
        ("auto", "two", "got 'two'"),
        ("auto", True, "got True"),
    ],
)
def test_more_tasks_than_gpus_and_a_certain_gpu_are_refused(
    device: str, tasks: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(UserError, match=expected):
        local.places(device, tasks)


class Pretended:
    """A job that ends after ``looks`` looks at it; its result is its number, or what it raises."""

    def __init__(self, number: int, looks: int, raises: Exception | None = None) -> None:
        self.job_id, self.number, self.looks, self.raises = "1", number, looks, raises

    def done(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def results(self) -> list[Any]:
        if self.raises:
            raise self.raises
        return [self.number]


@pytest.mark.parametrize("lost", [None, 2])
def test_tasks_wait_for_a_free_place_and_a_lost_one_stops_no_other(
    lost: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PAUSE", 0)
    places = [Place("5", 1), Place("7", 1)]
    begun: list[tuple[Pretended, Place]] = []

    def start(number: int, place: Place) -> Pretended:
        assert all(job.looks < 0 for job, where in begun if where == place), "one at a time in a place"
        assert number == len(begun), "in their order"
        begun.append((Pretended(number, (7 * number) % 5, OSError("lost") if number == lost else None), place))
        return begun[-1][0]

    if lost is None:
        assert local.side_by_side(start, 9, places) == list(range(9))
    else:
        with pytest.raises(OSError, match="lost"):
            local.side_by_side(start, 9, places)
    assert len(begun) == 9 and all(job.looks < 0 for job, _ in begun)
    assert {place for _, place in begun} == set(places)


HOLDER = """
import sys, time
from gradproj.execution import local
place = local.Place(sys.argv[1], 1)
local.occupy(place, lambda: (print("taken", flush=True), time.sleep(600)))
"""


def test_a_gpu_that_another_command_uses_is_waited_for_until_its_task_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    begun: list[subprocess.Popen[str]] = []

    def hold(gpu: str) -> subprocess.Popen[str]:
        begun.append(subprocess.Popen([sys.executable, "-c", HOLDER, gpu], stdout=subprocess.PIPE, text=True))
        return begun[-1]

    def says(process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    try:
        first = hold("MIG-GPU-1/2/0")
        assert says(first) == "taken"
        second, other = hold("MIG-GPU-1/2/0"), hold("7")
        assert says(second).startswith("waiting for GPU MIG-GPU-1/2/0") and says(other) == "taken"
        first.kill()
        assert says(second) == "taken"
        second.terminate()
        assert second.wait(60) != 0, "SIGTERM ends a task"
    finally:
        for process in begun:
            process.kill()
            process.communicate()


class Work:
    """A folder in which the sweep's command is given, on two GPUs that are not there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, folder / "notes"
        self.notes.mkdir(parents=True)
        path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        self.environment = os.environ | {"NOTES": str(self.notes), "PYTHONPATH": path, "TMPDIR": str(folder)}
        self.environment |= {"CUDA_VISIBLE_DEVICES": "5,7", "OMP_NUM_THREADS": "1"}
        self.begun: list[Command] = []

    def start(self, *overrides: str) -> Command:
        for pid in self.noted():
            (self.notes / str(pid)).unlink()
        told = ("run", "-m", *SMALL, "hydra/launcher=local", *overrides)
        self.begun.append(Command(self.folder, *told, environment=self.environment))
        return self.begun[-1]

    def hold(self) -> None:
        """Tasks stop in the middle of their second image."""
        (self.notes / "hold").write_text(str(STEPS + 3))

    def release(self) -> None:
        (self.notes / "hold").unlink(missing_ok=True)

    def noted(self) -> dict[int, str]:
        """Process id -> the GPU and the threads that it sees, of every task of the newest command."""
        return {int(path.name): path.read_text() for path in self.notes.iterdir() if path.name != "hold"}

    def wait(self, ready: Callable[[], bool]) -> None:
        last = time.monotonic() + SECONDS
        while not ready():
            assert self.begun[-1].poll() is None, self.begun[-1].err.read_text()
            assert time.monotonic() < last
            time.sleep(0.1)

    def records(self) -> dict[str, Path]:
        return {path.stem: path for path in self.folder.glob("results/runs/*/images/*.csv")}

    def times(self) -> dict[str, int]:
        return {name: path.stat().st_mtime_ns for name, path in self.records().items()}


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    one = Work(tmp_path / "local")
    yield one
    one.release()
    for command in one.begun:
        if command.poll() is None:
            os.kill(command.pid, signal.SIGTERM)
            command.wait(SECONDS)


def rows(path: Path) -> list[list[str]]:
    """A record's lines as cells, without the seconds and the seal."""
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    seconds = lines[0].index("seconds")
    return [cells[:seconds] + cells[seconds + 1 :] for cells in lines]


def test_tasks_killed_and_stopped_lose_nothing_and_the_same_command_finishes(
    work: Work, gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.hold()
    killed = work.start("shards=2", "seeds=2")
    work.wait(lambda: len(work.noted()) == 2 and len(work.records()) == 2)
    assert sorted(work.noted().values()) == ["5 1", "7 1"], "each task sees one GPU, its own"
    before = work.times()
    os.kill(min(work.noted()), signal.SIGKILL)
    work.release()
    assert killed.wait(SECONDS) == 1
    assert killed.err.read_text().count("\n") == 1 and "a task was lost" in killed.err.read_text()
    assert before.keys() < work.times().keys() and len(work.times()) == 4, "the other task went on to its end"

    work.hold()
    stopped = work.start("shards=2", "seeds=4")
    work.wait(lambda: len(work.noted()) == 2 and len(work.records()) == 6)
    os.kill(stopped.pid, signal.SIGINT)
    assert stopped.wait(SECONDS) == 130
    assert stopped.err.read_text().count("\n") == 1 and "the same command goes on" in stopped.err.read_text()
    assert not [pid for pid in work.noted() if Path(f"/proc/{pid}").exists()], "its tasks have ended with it"
    before |= work.times()

    work.release()
    again = work.start("shards=2", "seeds=4")
    assert again.wait(SECONDS) == 0, again.err.read_text()
    assert sorted(work.noted().values()) == ["5 1", "7 1"]
    assert "2 tasks, 2 at the same time, on GPU 5, 7" in again.out.read_text()
    assert before.items() <= work.times().items(), "what was recorded was not made again"

    monkeypatch.setenv("NOTES", str(work.notes))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "here").mkdir()
    plain = gradproj("run", *SMALL, "seeds=4", folder=tmp_path / "here")
    assert plain.code == 0, plain.err
    here = {path.stem: path for path in (tmp_path / "here").glob("results/runs/*/images/*.csv")}
    assert len(here) == 12 and here.keys() == work.records().keys()
    for name, path in work.records().items():
        assert rows(path) == rows(here[name])
        assert path.with_suffix(".png").read_bytes() == here[name].with_suffix(".png").read_bytes()


def test_failed_images_on_the_processor_give_the_exit_code_of_a_run(work: Work) -> None:
    spoilt = ("reward={shapes_aesthetic: 1e39}", "max_skips=1")  # infinite in float32: no usable gradient
    failed = work.start(*spoilt, "device=cpu", "method=none,ours", "hydra.launcher.tasks=2")
    assert failed.wait(SECONDS) == 1
    assert "3 images failed, and the same command tries them again" in failed.err.read_text()
    assert "on the processor" in failed.out.read_text()
    assert list(work.noted().values()) == [" 1", " 1"], "no GPU is seen"
    assert len(list(work.folder.glob("results/runs/*/images/*.failed"))) == 6


def test_without_submitit_it_is_refused(gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_submitit_launcher.submitit_launcher", None)
    code, _, err = gradproj("run", "-m", "hydra/launcher=local", folder=tmp_path)
    assert code == 2 and "pip install 'gradproj[slurm]'" in err and "Traceback" not in err
