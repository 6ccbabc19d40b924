"""What a cluster does to a sweep: workers killed or doubled, no room on the disk."""

import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path
from typing import Any

import faults
import pytest
import test_command_line as line
import test_experiment as fakes
from conftest import CONFIGS, names_of
from faults import BASE, Inside, Shown, without_seconds

from gradproj.execution.experiment import Experiment
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, Share

look, reference, inside, small_disk = faults.look, faults.reference, faults.inside, faults.small_disk


WORKERS = """
import os, random, signal, sys, time
from pathlib import Path
import torch._dynamo, gradproj.methods.none, gradproj.models.shapes, gradproj.execution.worker
from hydra import compose, initialize_config_dir
from gradproj.execution import experiment
from gradproj.cli import run

configs, results, kills, *settings = sys.argv[1:]
rng = random.Random(0)
with initialize_config_dir(configs, version_base="1.3"):
    config = compose("config", [*settings, f"results={results}"])

def worker():
    pid = os.fork()
    if pid == 0:
        run.run_once(config, "shapes", "none")
        os._exit(0)
    return pid

killed, before, longest = 0, 0, 0.15
while killed < int(kills):
    for pid in [worker(), worker()]:
        time.sleep(rng.uniform(0.2, 1) * longest)
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    found = sum(path.name[0] != "." for path in Path(results).glob("runs/*/images/*.csv"))
    longest *= 1.2 if found == before else 1  # on a busy machine
    before = found
    print("recorded", found, flush=True)
assert os.waitpid(worker(), 0)[1] == 0
"""


def test_workers_killed_at_random_moments_leave_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    settings = ("prompts=shapes_demo", line.SETTINGS[1], "method=none", "steps=2", "seeds=16", "batch=1")
    said = {}
    for name, kills in (("killed", 50), ("sound", 0)):
        arguments = [sys.executable, "-c", WORKERS, str(CONFIGS), str(tmp_path / name), str(kills), *settings]
        done = subprocess.run(arguments, env=line.environment(), capture_output=True, text=True, timeout=line.HANGING)
        assert done.returncode == 0, done.stderr
        said[name] = [int(one.split()[1]) for one in done.stdout.splitlines() if one.startswith("recorded ")]
    assert sorted(said["killed"]) == said["killed"] and len(set(said["killed"])) > 3 and said["killed"][-1] < 256
    killed, sound = (Run.open(next((tmp_path / name / "runs").iterdir())) for name in ("killed", "sound"))
    assert len(names_of(sound)) == 256 and not list(killed.images.glob("*.damaged"))
    assert without_seconds(killed) == without_seconds(sound)


@pytest.mark.parametrize(("workers", "batch"), [(2, 1), (3, 1), (3, 4)])
def test_workers_of_one_shard_corrupt_nothing_and_do_little_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, batch: int
) -> None:
    prompts, images = [f"p{number}" for number in range(10)], list(Share(10, 4))
    worked: list[ImageId] = []
    real = Experiment._complete_batch

    def slow(self: Experiment, run: Run, chunk: Any) -> int:
        worked.extend(chunk)
        time.sleep(random.uniform(0.005, 0.015) * len(chunk))
        return real(self, run, chunk)

    monkeypatch.setattr(Experiment, "_complete_batch", slow)
    every = [fakes.experiment(prompts=prompts, steps=1) for _ in range(workers)]
    run = fakes.new_run(tmp_path, every[0])
    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(lambda one: one.complete(run, images, batch), every)) == [0] * workers
    assert len(names_of(run)) == 40 and len(list(run.images.iterdir())) == 120
    twice = (len(worked) - 40) / (workers - 1) / batch
    assert twice < 3 * log(40 / batch) + 6
    alone = fakes.new_run(tmp_path / "alone", every[0])
    assert every[0].complete(alone, images, batch) == 0
    assert without_seconds(run).keys() == without_seconds(alone).keys()
    if batch == 1:
        assert without_seconds(run) == without_seconds(alone)


def simulated(count: int, workers: int, rng: random.Random) -> int:
    """Images done twice by workers whose images take a random time each and who skip what is recorded by then."""
    orders = [iter(rng.sample(range(count), count)) for _ in range(workers)]
    events: list[tuple[float, int, int | None]] = [(0.0, worker, None) for worker in range(workers)]
    recorded, done = set[int](), 0
    while events:
        events.sort()
        now, worker, finished = events.pop(0)
        if finished is not None:
            recorded.add(finished)
            done += 1
        image = next((one for one in orders[worker] if one not in recorded), None)
        if image is not None:
            events.append((now + rng.uniform(0.8, 1.2), worker, image))
    return done - count


def test_about_the_logarithm_of_their_number_is_done_twice() -> None:
    rng = random.Random(0)
    for count in (100, 1000):
        twice = statistics.mean(simulated(count, 2, rng) for _ in range(30))
        assert 0.5 * log(count) < twice < 1.5 * log(count)


def test_each_worker_has_an_order_of_its_own_over_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[tuple[ImageId, ...]]] = []
    monkeypatch.setattr(Experiment, "_try", lambda _, run, chunk: seen[-1].append(tuple(chunk)) or 0)
    one, images = fakes.experiment(), list(Share(1, 50))
    for _ in range(3):
        seen.append([])
        one.complete(fakes.new_run(tmp_path, one), images, 4)
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(seen[2]) and len(seen[0]) == 13
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_wherever_a_disk_fills_whole_records_stay_and_it_is_said(
    small_disk: Path, reference: tuple[Run, dict[str, Any]], inside: Inside, look: Shown
) -> None:
    seen = set[int]()
    for size in (16, 28, 36, 44, 52, 64):
        subprocess.run(["mount", "-o", f"remount,size={size}k", small_disk], check=True)
        code, _, error = inside(small_disk, *BASE)
        assert code == 2 and "o space left" in error and "Traceback" not in error
        assert not list(small_disk.rglob("*.part"))
        runs = list((small_disk / "results" / "runs").glob("*/config.yaml"))
        if runs:
            run = Run.open(runs[0].parent)
            seen.add(len(names_of(run)))
            code, said = look(small_disk / "results")
            assert code == 1 and f"{len(names_of(run))} of " in said
    assert len(seen) > 2
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert inside(small_disk, *BASE)[0] == 0
    assert without_seconds(line.only_run(small_disk)) == reference[1]
