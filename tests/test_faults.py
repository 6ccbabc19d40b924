"""What a cluster does to a sweep: workers killed or doubled, damaged records, failing images, no memory, no disk."""

import gc
import os
import random
import statistics
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import test_command_line as line
import test_experiment as fakes
import tiny
import torch
from conftest import CONFIGS

from gradproj import experiment, status
from gradproj.experiment import Experiment, Key
from gradproj.noise import initial_latent
from gradproj.records import Run

inside, small_disk = line.inside, line.small_disk
Inside = line.Inside
BASE = (*line.SETTINGS, "seeds=2", "batch=1")


def without_seconds(run: Run) -> dict[str, Any]:
    """Every record's rows apart from the seconds, as text, and every picture's bytes."""
    rows = {name: pd.read_csv(run.images / f"{name}.csv", comment="#", dtype=str) for name in run.done()}
    pictures = {path.name: path.read_bytes() for path in run.images.glob("*.png")}
    return {name: one.drop(columns="seconds").to_csv() for name, one in rows.items()} | pictures


def shown(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """``gradproj-status`` within this process: exit code and what it says."""
    monkeypatch.setattr(sys, "argv", ["gradproj-status", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        status.main()
    return end.value.code, "".join(capsys.readouterr())


Shown = Callable[..., tuple[Any, str]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    return lambda *arguments: shown([str(one) for one in arguments], monkeypatch, capsys)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("reference")
    done = line.command(folder, *BASE)
    assert done.returncode == 0, done.stderr
    return line.only_run(folder), without_seconds(line.only_run(folder))


# --- killed, and several at once


WORKERS = """
import os, random, signal, sys, time
import torch._dynamo, gradproj.methods.none, gradproj.models.shapes, gradproj.report
from hydra import compose, initialize_config_dir
from gradproj import experiment, run

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

killed = 0
while killed < int(kills):
    for pid in [worker(), worker()]:
        time.sleep(rng.uniform(0.03, 0.15))
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    found = [one for runs in os.scandir(f"{results}/runs") for one in os.listdir(f"{runs.path}/images")]
    print("recorded", sum(one.endswith(".csv") and one[0] != "." for one in found), flush=True)
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
    assert len(sound.done()) == 256 and not list(killed.images.glob("*.damaged"))
    assert without_seconds(killed) == without_seconds(sound)


@pytest.mark.parametrize(("workers", "batch"), [(2, 1), (3, 1), (3, 4)])
def test_workers_of_one_shard_corrupt_nothing_and_do_little_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, batch: int
) -> None:
    prompts, images = [f"p{number}" for number in range(10)], [(n, seed) for n in range(10) for seed in range(4)]
    worked: list[Key] = []
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
    assert len(run.done()) == 40 and len(list(run.images.iterdir())) == 120
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
    seen: list[list[tuple[Key, ...]]] = []
    monkeypatch.setattr(Experiment, "_try", lambda _, run, chunk: seen[-1].append(tuple(chunk)) or 0)
    one, images = fakes.experiment(), [(0, seed) for seed in range(50)]
    for _ in range(3):
        seen.append([])
        one.complete(fakes.new_run(tmp_path, one), images, 4)
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(seen[2]) and len(seen[0]) == 13
    assert seen[0] != seen[1] != seen[2] != seen[0]


# --- damaged records

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "0000-0": lambda _: b"",
    "0000-1": lambda whole: whole[: len(whole) // 2],
    "0001-0": lambda whole: whole + os.urandom(40),
    "0001-1": lambda whole: whole[:-200] + bytes(200),  # blocks that never reached the disk
    "0002-0": lambda whole: whole[:-1],
}


def test_damaged_records_are_seen_and_made_again_and_what_was_left_is_kept(
    tmp_path: Path, reference: tuple[Run, dict[str, Any]], inside: Inside, look: Shown
) -> None:
    line.shutil.copytree(reference[0].folder.parents[1], tmp_path / "results")
    run = line.only_run(tmp_path)
    whole = {path.name: path.read_bytes() for path in run.images.glob("*.csv")}
    remains = {name: damage(whole[f"{name}.csv"]) for name, damage in DAMAGE.items()}
    for name, content in remains.items():
        (run.images / f"{name}.csv").write_bytes(content)
    code, said = look(tmp_path / "results")
    assert code == 1 and "1 of 6 images recorded" in said
    code, out, error = inside(tmp_path, *BASE)
    assert code == 0, error
    assert "1 of 6 images recorded, 5 to do" in out
    assert without_seconds(run) == reference[1]
    assert {path.stem[:6]: path.read_bytes() for path in run.images.glob("*.damaged")} == remains
    assert (run.images / "0002-1.csv").read_bytes() == whole["0002-1.csv"]
    assert look(tmp_path / "results")[0] == 0


def test_a_shard_is_not_stopped_by_another_ones_damaged_record(tmp_path: Path, inside: Inside) -> None:
    assert inside(tmp_path, *BASE, "shards=2", "shard=1", "method=none")[0] == 0
    path = line.only_run(tmp_path).images / "0000-1.csv"
    path.write_bytes(b"")
    assert inside(tmp_path, *BASE, "shards=2", "shard=0", "method=none")[0] == 0
    assert path.read_bytes() == b""


def test_a_whole_record_is_never_overwritten(tmp_path: Path) -> None:
    run, _ = fakes.complete(tmp_path)
    before = {path.name: path.read_bytes() for path in run.images.iterdir()}
    run.write(0, 0, [{"step": 1.0}], {"": fakes.Pillow.new("RGB", (1, 1))})
    assert {path.name: path.read_bytes() for path in run.images.iterdir()} == before


def test_two_that_find_the_same_cut_record_both_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = fakes.complete(tmp_path)
    path, real = run.images / "0000-0.csv", Path.replace
    rows: Any = fakes.frame(run, 0).to_dict("records")
    path.write_bytes(path.read_bytes()[:50])

    def taken(self: Path, target: Path) -> Path:
        if target.suffix == ".damaged" and self.exists():
            real(self, target)  # by the other one, in between
        return real(self, target)

    monkeypatch.setattr(Path, "replace", taken)
    run.write(0, 0, rows, {})
    assert len(run.done()) == 4


# --- images that fail


def spoil(monkeypatch: pytest.MonkeyPatch, kind: str, at: int = 2) -> Counter[str]:
    """Prompt 1, seed 0 meets trouble at its ``at``-th picture; counts the attempts at it."""
    real, attempts = experiment.optimize, Counter[str]()

    def spoilt(model: Any, reward: Any, method: Any, condition: Any, text: Any, latent: Any, *rest: Any) -> Any:
        (bad,) = initial_latent(model.latent_shape, [(1, 0)])
        mine = torch.tensor([torch.equal(one, bad) for one in latent.cpu()])
        attempts["bad"] += bool(mine.any())
        calls = iter(range(100))

        def judge(image: Any, texts: Any) -> Any:
            late = next(calls) >= at and bool(mine.any())
            if late and kind == "error":
                raise RuntimeError("CUDA error: an illegal\nmemory access")
            if late and kind == "picture":
                image = torch.where(mine[:, None, None, None], torch.nan, image)
            value = reward(image, texts)
            return torch.where(mine, torch.nan, value) if late and kind == "reward" else value

        return real(model, judge, method, condition, text, latent, *rest)

    monkeypatch.setattr(experiment, "optimize", spoilt)
    return attempts


def test_one_image_fails_alone_is_tried_so_often_and_no_more_until_told(
    tmp_path: Path,
    reference: tuple[Run, dict[str, Any]],
    inside: Inside,
    look: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        attempts = spoil(patch, "error")
        for retries, tried, left in ((1, 1, 6), (1, 2, 1), (1, 2, 0), (1, 2, 0), (2, 3, 1), (2, 3, 0)):
            code, out, error = inside(tmp_path, *BASE, f"max_retries={retries}")
            assert code == 1 and "Traceback" not in error
            assert f"{left} to do" in out and ("left alone" in out) == (left == 0)
            assert attempts["bad"] == tried
            run = line.only_run(tmp_path)
            lines = (run.images / "0001-0.failed").read_text().splitlines()
            assert len(lines) == tried and all("illegal memory" in one for one in lines)
            assert run.done() == line.ALL - {"0001-0"}
            code, said = look(tmp_path / "results")
            assert code == 1 and f"1 failed: {lines[-1][:50]}" in said
    assert inside(tmp_path, *BASE, "max_retries=3")[0] == 0
    assert not list(run.images.glob("*.failed"))
    assert without_seconds(run) == reference[1]


def test_of_a_batch_a_bad_reward_costs_one_and_an_error_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, lost in (("reward", 1), ("picture", 1), ("error", 2)):
        with monkeypatch.context() as patch:
            spoil(patch, kind)
            run, failed = fakes.complete(tmp_path / kind, batch=2, prompts=["one", "two", "three", "four"])
        assert failed == len(run.failures()) == lost and len(run.done()) == 4 - lost


def test_an_image_that_left_a_cut_record_and_fails_is_given_up_too(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "reward")
    assert inside(tmp_path, *BASE, "max_retries=0")[0] == 1
    run = line.only_run(tmp_path)
    (run.images / "0001-0.csv").write_bytes(b"")
    assert run.failures().keys() == {"0001-0"}
    assert status.status(run).failed == 1


def test_a_bad_cell_of_a_sweep_does_not_stop_the_others(tmp_path: Path, inside: Inside) -> None:
    code, _, error = inside(tmp_path, "-m", *BASE, "method=ours", "method.block=7,16")
    assert code in (1, 2) and "tile" in error
    assert line.only_run(tmp_path).done() == line.ALL


# --- out of memory


class Small(fakes.Model):
    """Room for ``room`` pictures of a batch; two cheaper policies, each with room for one more."""

    def __init__(self, room: int, policies: int = 2) -> None:
        super().__init__()
        self.room, self.policies = room, ["decoder_checkpointing=blocks", "checkpointing=blocks"][:policies]
        self.held: list[Any] = []
        self.crowded = False

    def save_memory(self) -> str | None:
        if self.policies:
            self.room += 1
            return self.policies.pop(0)
        return None

    def generate(self, latent: Any, condition: Any) -> Any:
        if self.held:
            gc.collect()
            self.crowded |= any(one() is not None for one in self.held)
        self.held = []
        if len(latent) > self.room:
            self.held = [weakref.ref(latent)]
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().generate(latent, condition)


OOM = "out of memory: "


@pytest.mark.parametrize(
    ("room", "batch", "notes"),
    [
        (4, 4, []),
        (1, 4, [f"{OOM}batch=1"] * 4),
        (0, 1, [f"{OOM}decoder_checkpointing=blocks"]),
        (0, 4, [f"{OOM}batch=1"] * 3 + [f"{OOM}batch=1: decoder_checkpointing=blocks"]),
        (-1, 1, [f"{OOM}decoder_checkpointing=blocks: checkpointing=blocks"]),
    ],
)
def test_where_memory_does_not_do_less_is_asked_of_it_and_noted(
    tmp_path: Path, room: int, batch: int, notes: list[str]
) -> None:
    model = Small(room)
    run, failed = fakes.complete(tmp_path, batch=batch, model=model)
    assert (failed, run.failures()) == (0, {})
    assert sorted(path.read_text().strip() for path in run.images.glob("*.note")) == notes
    sound, _ = fakes.complete(tmp_path / "sound", batch=1)
    assert without_seconds(run).keys() == without_seconds(sound).keys()


def test_a_second_attempt_has_the_memory_of_the_first(tmp_path: Path) -> None:
    model = Small(0)
    fakes.complete(tmp_path, batch=4, model=model)
    assert not model.crowded, "the failed attempt's tensors were still held"


def test_what_does_not_fit_under_the_cheapest_policy_fails_and_says_so(tmp_path: Path) -> None:
    run, failed = fakes.complete(tmp_path, model=Small(-9))
    assert failed == 4 and not run.done() and not list(run.images.glob("*.note"))
    assert {reason for lines in run.failures().values() for reason in lines} == {
        "out of memory under the cheapest policy: CUDA out of memory"
    }


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_published_model_saves_memory_twice_and_its_gradient_stays(case: str) -> None:
    model, steps = tiny.build(case, checkpointing="none", decoder_checkpointing="none"), []
    condition, latent = model.encode(["a red ring"]), tiny.random_latent(model, 1).requires_grad_()
    answers = []
    for _ in range(3):
        kept: dict[int, int] = {}

        def pack(tensor: Any, kept: dict[int, int] = kept) -> Any:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            image = model.generate(latent, condition)
        steps.append((sum(kept.values()), torch.autograd.grad(image.square().sum(), latent)[0]))
        answers.append(model.save_memory())
    assert answers == ["decoder_checkpointing=blocks", "checkpointing=blocks", None]
    assert steps[0][0] > steps[1][0] > steps[2][0]
    for _, gradient in steps[1:]:
        torch.testing.assert_close(gradient, steps[0][1], rtol=1e-3, atol=1e-5)


# --- gradproj-status


def recorded(results: Path, prompts: int = 4, seeds: int = 1) -> Run:
    """A run in which that many images are recorded, without pictures."""
    config = {"names": {"model": "m", "method": "n", "reward": "r"}, "steps": 1, "rewards": {"red": None}}
    run = Run.create(results, config | {"prompts": [f"p{number}" for number in range(prompts)]}, {})
    run.ask(seeds)
    run.write(0, 0, [{"step": 0.0}, {"step": 1.0}], {})
    content = (run.images / "0000-0.csv").read_bytes()
    for prompt in range(prompts):
        for seed in range(seeds):
            (run.images / f"{run.name(prompt, seed)}.csv").write_bytes(content)
    return run


def test_status_counts_what_was_asked_for(tmp_path: Path, look: Shown) -> None:
    code, said = look(tmp_path)
    assert code == 2 and "no runs" in said
    run = recorded(tmp_path)
    code, said = look(tmp_path)
    assert code == 0 and "4 of 4 images recorded" in said and "the same commands" not in said
    for seeds in (3, 2):
        run.ask(seeds)
    for _ in range(2):
        run.fail(1, 2, "the device\nis gone")
    (run.images / "0003-1.csv").write_bytes(b"cut")
    for pack in (lambda: None, lambda: (run.images / "0003-1.csv").unlink(), run.pack, run.unpack):
        pack()
        code, said = look(tmp_path)
        row = next(one for one in said.splitlines() if one.startswith(run.folder.name))
        assert code == 1 and row.split()[1:4] == ["4", "1", "7"]
        assert f"1 failed: the device is gone (see {run.images}/*.failed)" in said and "the same commands" in said


def test_an_image_that_is_packed_has_not_failed(tmp_path: Path) -> None:
    """A worker that began before another one recorded the image, which was packed meanwhile."""
    run = recorded(tmp_path)
    run.pack()
    run.fail(1, 0, "too bad")
    assert run.failures() == {}
    assert (status.status(run).failed, status.status(run).missing) == (0, 0)


def test_status_of_damaged_folders_is_a_message(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    run.pack()
    for path in (run.folder / "records.tar.xz", run.folder / "config.yaml"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        code, said = look(tmp_path)
        assert code == 2 and str(run.folder) in said and "Traceback" not in said
        path.write_bytes(whole)
    assert look(tmp_path)[0] == 0


def test_a_record_under_a_strange_name_is_no_crash(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    (run.images / "0001-0 (copy).csv").write_bytes((run.images / "0001-0.csv").read_bytes())
    code, said = look(tmp_path)
    assert code in (0, 2) and "Traceback" not in said


def test_a_run_that_was_killed_before_it_said_what_it_wants_is_not_complete(tmp_path: Path, look: Shown) -> None:
    recorded(tmp_path, seeds=0).images.joinpath("0000-0.csv").unlink()
    assert look(tmp_path)[0] == 1


def test_watch_draws_again_until_all_is_done(tmp_path: Path, look: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded(tmp_path)
    missing = [(run.images / f"000{number}-0.csv", b"") for number in (1, 2)]
    missing = [(path, path.rename(path.with_suffix(".away"))) for path, _ in missing]

    def sleep(seconds: float) -> None:
        assert seconds == 7
        path, away = missing.pop()
        away.rename(path)

    monkeypatch.setattr(time, "sleep", sleep)
    code, said = look(tmp_path, "--watch", 7)
    assert code == 0
    assert [f"{count} of 4 images recorded" in said for count in (2, 3, 4)] == [True] * 3


def test_a_folder_of_many_records_is_counted(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path, prompts=20, seeds=1000)
    (run.images / "0019-999.csv").unlink()
    run.fail(19, 999, "too bad")
    began = time.perf_counter()
    code, said = look(tmp_path)
    print(f"20,000 records: {time.perf_counter() - began:.1f} s")  # for who asks (pytest -rA)
    assert code == 1 and "19999 of 20000 images recorded" in said and "1 failed: too bad" in said


# --- a full disk


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
            seen.add(len(run.done()))
            code, said = look(small_disk / "results")
            assert code == 1 and f"{len(run.done())} of " in said
    assert len(seen) > 2
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert inside(small_disk, *BASE)[0] == 0
    assert without_seconds(line.only_run(small_disk)) == reference[1]
