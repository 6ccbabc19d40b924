"""One worker: what it finds to do, says, records and gives up; how it waits, counts and computes."""

import json
import re
import sys
import types
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch
from conftest import Compose
from fakes import IMAGES, Model, experiment

from gradproj.errors import UserError
from gradproj.execution import batches, display, scheduler, threads, worker
from gradproj.execution.destination import Records
from gradproj.execution.missing import Missing
from gradproj.execution.outcome import Outcome
from gradproj.execution.settings import keys
from gradproj.models.shapes import Shapes
from gradproj.runs.naming import ImageId, Share

SETTINGS = ("prompts=[a red ring]", "rewards=[shapes_aesthetic]", "steps=1", "method=none")


@pytest.fixture
def work(compose: Compose, tmp_path: Path) -> Any:
    """``work("seeds=2")``: the outcome of one worker of the miniature."""

    def outcome(*overrides: str) -> Outcome:
        settings = keys.check(compose(*SETTINGS, f"results={tmp_path}", *overrides))
        return worker.complete(settings, settings["prompts"], "shapes", "none")

    return outcome


def test_a_run_notes_its_batch_shards_device_and_threads_and_a_finished_one_loads_nothing(
    work: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = work("seeds=6", "batch=2", "shards=2")
    assert (first.recorded, first.failed, first.given_up, first.unfinished) == (3, 0, 0, None)
    facts = json.loads((first.run.folder / "env.json").read_text())
    assert (facts["batch"], facts["shards"], facts["threads"]) == (2, 2, 1) and facts["device"]
    said = capsys.readouterr().out.splitlines()[0]
    assert said == f"{first.run.folder}: 0 of 3 images recorded, 3 to do, on {facts['device']} (cpu), threads=1"
    assert facts["torch_device"] == "cpu"
    for loading in ("encode", "generate"):
        monkeypatch.setattr(Shapes, loading, lambda *_: pytest.fail("the model is loaded"))
    again = work("seeds=6", "batch=1", "shards=2", "threads=2")
    assert again == first and torch.get_num_threads() == 1
    assert "3 of 3 images recorded, 0 to do" in capsys.readouterr().out
    assert json.loads((first.run.folder / "env.json").read_text()) == facts


def test_a_setting_that_a_part_refuses_leaves_no_folder(work: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clip"):
        work("method.clip=-1.0")
    assert not list(tmp_path.iterdir())


def test_given_up_means_given_up(work: Any, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = ("reward={shapes_aesthetic: 1e39}", "max_skips=1")  # infinite in float32: no usable gradient
    first, second, third = (work(*spoilt, "max_retries=1") for _ in range(3))
    assert (first.failed, first.given_up) == (1, 0) and "the same command tries them again" in first.unfinished
    for outcome in (second, third):
        assert (outcome.failed, outcome.given_up, outcome.attempts) == (0, 1, 2)
        assert "same command" not in outcome.unfinished and "type max_retries=2" in outcome.unfinished
    assert "0 to do" in capsys.readouterr().out.splitlines()[-2]
    assert work(*spoilt, "max_retries=2").attempts == 3  # the advice works


def test_the_missing_images_are_those_of_a_list_and_take_no_memory() -> None:
    for share, seeds in ((Share(5, 3), [0, 1, 2]), (Share(7, 4, 1, 3), [0, 1, 2, 3]), (Share(7, [5, 2], 1, 3), [5, 2])):
        every = [ImageId(prompt, seed) for prompt in range(share.prompts) for seed in seeds]
        own = every[share.shard :: share.shards]
        assert list(share) == own and len(share) == len(own)
        near = [ImageId(prompt, seed) for prompt in range(-1, 9) for seed in range(-1, 7)]
        assert [image for image in near if image in share] == sorted(own)
        assert [share.index(image) for image in own] == list(range(len(own)))
        for others in (own[:1], own[1::2], own[-3:], own, []):
            assert list(Missing(share, others)) == [image for image in own if image not in others]
    huge = Missing(Share(10, 10**9), IMAGES)
    assert len(huge) == 10**10 - 4 and huge[10**9 - 1] == ImageId(1, 1) and huge[len(huge) - 1] == ImageId(9, 10**9 - 1)
    assert len(set(islice(batches.shuffled(len(huge)), 1000))) == 1000


def test_every_order_of_the_batches_is_as_likely() -> None:
    orders = Counter(tuple(batches.shuffled(4)) for _ in range(24 * 200))
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders) and len(orders) == 24
    assert sum((count - 200) ** 2 / 200 for count in orders.values()) < 70  # chi-squared of 23: beyond 70 in 10^-6


@pytest.mark.parametrize(
    ("wanted", "shape", "expected"), [(None, (3, 32, 32), 1), (None, (4, 64, 64), 3), (2, (1,), 2)]
)
def test_a_small_model_computes_with_one_thread(wanted: int | None, shape: tuple[int, ...], expected: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads.chosen(wanted, shape) as count:
            assert count == torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_without_a_terminal_there_is_a_line_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10**6, 25))  # seconds: every look at the clock is 25 later
    monkeypatch.setattr(display, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
    run, _ = fakes.complete(tmp_path, batch=2, steps=5)
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(
        re.search(r" of 4 images done; \S+ \S+ -> \S+ at step \d of 5; .*min left", line) for line in lines
    )
    step = int(lines[-1].partition(" at step ")[2].partition(" of 5")[0])
    rewards = [float(one) for one in re.findall(r"(\S+) -> (\S+) at step", lines[-1])[0]]
    batch = [ImageId(0, 0), ImageId(1, 0)]
    means = [[run.table(image).reward[at] for image in pair] for pair in (batch, IMAGES[2:]) for at in (0, step)]
    assert any(
        rewards == pytest.approx([sum(start) / 2, sum(now) / 2], rel=1e-3) for start, now in (means[:2], means[2:])
    )


def test_a_worker_that_is_interrupted_blames_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = types.ModuleType("submitit.core.utils")
    ended.UncompletedJobError = type("UncompletedJobError", (RuntimeError,), {})  # type: ignore[attr-defined]
    ended.FailedSubmissionError = type("FailedSubmissionError", (RuntimeError,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "submitit.core.utils", ended)
    assert len(scheduler.interruptions()) == 2
    for kind in (*scheduler.interruptions(), KeyboardInterrupt):
        run = fakes.new_run(tmp_path, experiment())

        def stop(*_: Any, kind: type[BaseException] = kind) -> None:
            raise kind("stop")

        monkeypatch.setattr(Model, "generate", stop)
        with pytest.raises(kind):
            batches.complete(experiment(), Records(run), IMAGES, 2)
        assert not list(run.folder.rglob("*.failed")) and not (run.folder / "workers").exists()


def test_submitits_own_exceptions_are_recognised() -> None:
    utils = pytest.importorskip("submitit.core.utils")
    assert issubclass(utils.FailedJobError, scheduler.interruptions())


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradproj.execution.experiment.optimize", None)  # a call would raise
    run = fakes.new_run(tmp_path, experiment())
    batches.complete(experiment(), Records(run), [], 4)
    assert not list(run.images.iterdir())
