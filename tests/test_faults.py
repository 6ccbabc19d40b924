"""What a cluster does to a sweep: workers killed or doubled, no room on the disk."""

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path
from typing import Any

import fakes
import faults
import pytest
import test_command_line as line
from conftest import CONFIGS
from faults import BASE, without_seconds, work

from gradproj.errors import UserError
from gradproj.execution import batches
from gradproj.execution.destination import Records
from gradproj.execution.experiment import Experiment
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

reference, small_disk = faults.reference, line.small_disk

WORKERS = """
import os, random, signal, sys
from pathlib import Path
import gradproj.methods.none, gradproj.models.shapes
from hydra import compose, initialize_config_dir
from gradproj.execution import worker
from gradproj.execution.settings import keys

configs, folder, kills, *overrides = sys.argv[1:]
rng = random.Random(0)

def die_at_write(left):
    def watch(event, arguments):
        nonlocal left
        writes = event in ("os.rename", "os.remove", "os.mkdir") or (event == "open" and "w" in str(arguments[1]))
        left -= writes and folder in str(arguments[0])
        if writes and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

def begin(name, writes=None):
    with initialize_config_dir(configs, version_base="1.3"):
        plain = keys.check(compose("config", [*overrides, f"results={folder}/{name}"]))
    pid = os.fork()
    if pid == 0:
        if writes is not None:
            die_at_write(writes)
        worker.complete(plain, plain["prompts"], "shapes", "none")
        os._exit(0)
    return pid

killed = 0
while killed < int(kills):
    for pid in [begin("killed", rng.randrange(20)), begin("killed", rng.randrange(20))]:
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    print("recorded", sum(path.name[0] != "." for path in Path(folder).glob("killed/runs/*/images/*.csv")), flush=True)
for name in ("killed", "sound"):
    assert os.waitpid(begin(name), 0)[1] == 0
"""


def test_workers_killed_at_any_write_leave_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    settings = ("prompts=[a red ring,a white cross]", BASE[1], "method=none", "steps=1", "seeds=15", "batch=1")
    arguments = [sys.executable, "-c", WORKERS, str(CONFIGS), str(tmp_path), "12", *settings]
    done = subprocess.run(arguments, env=line.environment(), capture_output=True, text=True, timeout=line.HANGING)
    assert done.returncode == 0, done.stderr
    counts = [int(said.split()[1]) for said in done.stdout.splitlines() if said.startswith("recorded ")]
    assert sorted(counts) == counts and len(set(counts)) > 3 and counts[-1] < 30
    killed, sound = (Run.open(next((tmp_path / name / "runs").iterdir())) for name in ("killed", "sound"))
    assert len(sound.recorded()) == 30 and not list(killed.images.glob("*.damaged"))
    assert without_seconds(killed) == without_seconds(sound)


@pytest.mark.parametrize(("workers", "batch"), [(2, 1), (3, 4)])
def test_workers_of_one_shard_corrupt_nothing_and_do_little_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, batch: int
) -> None:
    worked: list[ImageId] = []
    real = Experiment.iterate

    def slow(self: Experiment, images: Sequence[ImageId], steps: int) -> Any:
        worked.extend(images)
        time.sleep(random.uniform(0.005, 0.015) * len(images))
        return real(self, images, steps)

    monkeypatch.setattr(Experiment, "iterate", slow)
    images = [ImageId(prompt, seed) for prompt in range(10) for seed in range(4)]
    every = [fakes.experiment(prompts=[f"p{number}" for number in range(10)], steps=1) for _ in range(workers)]
    run = fakes.new_run(tmp_path, every[0])
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda made: batches.complete(made, Records(run), images, batch), every))
    assert len(run.recorded()) == 40 and len(list(run.images.iterdir())) == 120
    twice = (len(worked) - 40) / (workers - 1) / batch
    assert twice < 3 * log(40 / batch) + 6
    alone = fakes.new_run(tmp_path / "alone", every[0])
    batches.complete(every[0], Records(alone), images, batch)
    assert without_seconds(run).keys() == without_seconds(alone).keys()
    if batch == 1:
        assert without_seconds(run) == without_seconds(alone)


def simulated(count: int, rng: random.Random) -> int:
    """Images done twice by two workers whose images take a random time each and who skip what is recorded by then."""
    orders = [iter(rng.sample(range(count), count)) for _ in range(2)]
    events: list[tuple[float, int, int | None]] = [(0.0, worker, None) for worker in range(2)]
    recorded, done = set[int](), 0
    while events:
        events.sort()
        now, worker, finished = events.pop(0)
        if finished is not None:
            recorded.add(finished)
            done += 1
        image = next((image for image in orders[worker] if image not in recorded), None)
        if image is not None:
            events.append((now + rng.uniform(0.8, 1.2), worker, image))
    return done - count


def test_about_the_logarithm_of_their_number_is_done_twice() -> None:
    rng = random.Random(0)
    for count in (100, 1000):
        twice = statistics.mean(simulated(count, rng) for _ in range(30))
        assert 0.5 * log(count) < twice < 1.5 * log(count)


def test_wherever_a_disk_fills_whole_records_stay(small_disk: Path, reference: tuple[Run, dict[str, Any]]) -> None:
    seen = set[int]()
    for size in (16, 28, 36, 44, 52, 64):
        subprocess.run(["mount", "-o", f"remount,size={size}k", small_disk], check=True)
        with pytest.raises((OSError, UserError), match="o space left"):
            work(small_disk)
        assert not list(small_disk.rglob("*.part")) and not list(small_disk.rglob("*.failed"))
        seen |= {len(Run.open(path.parent).recorded()) for path in small_disk.glob("runs/*/config.yaml")}
    assert len(seen) > 2
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert without_seconds(work(small_disk).run) == reference[1]
