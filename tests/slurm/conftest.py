"""The cluster, started once, and the sweep that every test here runs on it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, wait
from packages import CannotStart

from gradproj.runs.folder import Run

COMMAND = (sys.executable, "-m", "gradproj", "run")
PROMPTS = ["a red ring", "a blue square", "an orange cross", "a green circle", "a white triangle", "a purple ring"]
STEPS = 2
SWEEP = (
    "-m",
    "+sweep=smoke",
    "model=shapes",
    "model._target_=slow.Shapes",
    f"prompts={PROMPTS}".replace("'", '"'),
    f"steps={STEPS}",
    "batch=1",
)
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: starts a Slurm cluster on this host")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    except CannotStart as error:
        pytest.skip(f"no Slurm here: {error}")
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """Four idle nodes and an empty queue."""
    yield running
    running.cancel_all()
    running.wait_for_nodes()


class Work:
    """A folder in which the sweep is run, on a cluster or, without one, here."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self.folder = folder
        self.cluster = cluster
        self.hold_file = folder / "hold"
        environment = os.environ if cluster is None else cluster.environment
        self.environment = {**environment, "HOLD": str(self.hold_file), "PYTHONPATH": str(Path(__file__).parent)}
        self.environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        """The sweep's command; with a cluster it submits the tasks and waits for them."""
        more = SLURM if self.cluster else ()
        with (self.folder / "said.txt").open("a") as said:
            process = subprocess.Popen(
                [*COMMAND, *SWEEP, *more, *overrides],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=said,
                text=True,
            )
        self._started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> int:
        return process.wait(240)

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def hold(self) -> None:
        """Workers stop in the middle of their second image."""
        self.hold_file.write_text(str(STEPS + 3))

    def release(self) -> None:
        self.hold_file.unlink()

    def held(self) -> set[int]:
        """Process ids of the living workers that wait."""
        folder = self.folder / "held"
        pids = {int(path.name) for path in folder.iterdir()} if folder.exists() else set()
        return {pid for pid in pids if Path(f"/proc/{pid}").exists()}

    def wait_until_held(self, workers: int) -> set[int]:
        wait(
            lambda: len(self.held()) == workers,
            lambda: f"{workers} workers in the middle of an image; {self.said}",
            150,
        )
        return self.held()

    def runs(self) -> dict[str, Run]:
        return {path.name: Run.open(path) for path in sorted((self.folder / "results" / "runs").iterdir())}

    def records(self) -> dict[str, Path]:
        """``<run>/<image>`` -> CSV."""
        return {f"{name}/{path.stem}": path for name, run in self.runs().items() for path in run.images.rglob("*.csv")}

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


@pytest.fixture
def work(cluster: Cluster, tmp_path: Path) -> Iterator[Work]:
    one = Work(tmp_path, cluster)
    yield one
    one.hold_file.unlink(missing_ok=True)
    one.stop()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The undisturbed sweep, in one process, without Slurm and without shards."""
    one = Work(tmp_path_factory.mktemp("local"), None)
    assert one.end(one.start()) == 0, one.said
    return one
