"""Images are written behind the loop: in order, whole, and what a write raises ends the run; imports go by quickly."""

import gc
import threading
from pathlib import Path
from typing import Any

import fakes
import pytest
from conftest import Gradproj

from gradproj.cli import run as run_verb
from gradproj.errors import UserError
from gradproj.execution import batches
from gradproj.execution.behind import Behind
from gradproj.execution.destination import Records
from gradproj.execution.experiment import Experiment
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId


def test_pieces_are_done_in_their_order_in_one_thread_and_few_wait() -> None:
    behind, gate, done, threads = Behind(most=2), threading.Event(), list[int](), set[int]()

    def work(number: int) -> None:
        gate.wait(20)
        done.append(number)
        threads.add(threading.get_ident())

    for number in range(2):
        behind.do(work, number)
    assert done == []
    giver = threading.Thread(target=lambda: [behind.do(work, number) for number in range(2, 6)])
    giver.start()
    giver.join(0.2)
    assert giver.is_alive(), "a third piece was taken while two waited"
    gate.set()
    giver.join(20)
    behind.rest()
    assert done == [0, 1, 2, 3, 4, 5] and len(threads) == 1 and threading.get_ident() not in threads


@pytest.mark.parametrize("waits", [True, False])
def test_what_a_piece_raises_is_raised_to_the_giver_and_the_later_pieces_are_done(waits: bool) -> None:
    behind, gate, done = Behind(most=1 if waits else 9), threading.Event(), list[int]()

    def fail() -> None:
        gate.wait(20)
        raise OSError("no room")

    behind.do(fail)
    if not waits:
        behind.do(done.append, 1)
    gate.set()
    with pytest.raises(OSError, match="no room"):
        behind.do(done.append, 1) if waits else behind.rest()
    behind.rest()
    assert done == [1] and not behind.waiting


def test_the_loop_goes_on_while_an_image_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write ends only when the last batch has begun; every record is there at the end."""
    last, real_write, real_iterate = threading.Event(), Run.write, Experiment.iterate
    begun: list[Any] = []

    def write(self: Run, *given: Any) -> None:
        assert last.wait(20), "the loop waits for the disk"
        real_write(self, *given)

    def iterate(self: Experiment, images: Any, *given: Any) -> Any:
        begun.extend(images)
        if len(begun) == len(fakes.IMAGES):
            last.set()
        return real_iterate(self, images, *given)

    monkeypatch.setattr(Run, "write", write)
    monkeypatch.setattr(Experiment, "iterate", iterate)
    run, failures = fakes.complete(tmp_path, batch=1)
    assert failures == {} and run.recorded() == set(fakes.IMAGES)


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), ValueError("a bad number"), RuntimeError("?")])
def test_a_write_that_fails_ends_the_run_and_costs_no_other_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Also where it raises what an error of the device would be, which fails a batch and lets the run go on."""
    made = fakes.experiment(prompts=[f"p{number}" for number in range(60)], steps=1)
    run, real, given = fakes.new_run(tmp_path, made), Run.write, list[ImageId]()

    def write(self: Run, image: ImageId, *facts: Any) -> None:
        given.append(image)
        if len(given) == 3:
            raise error
        real(self, image, *facts)

    monkeypatch.setattr(Run, "write", write)
    images = [ImageId(prompt, 0) for prompt in range(60)]
    with pytest.raises(type(error)):
        batches.complete(made, Records(run), images, 1)
    assert run.recorded() == {*given} - {given[2]} and len(given) < 60
    assert not list(run.images.glob("*.failed")) and not (run.folder / "workers").exists()
    batches.complete(made, Records(run), images, 1)
    assert run.recorded() == {*images}


def test_what_is_finished_is_written_when_the_worker_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the third batch, while the first image is still being written."""
    stopped, real_write, real_iterate = threading.Event(), Run.write, Experiment.iterate
    begun: list[Any] = []

    def write(self: Run, *given: Any) -> None:
        assert stopped.wait(20)
        real_write(self, *given)

    def iterate(self: Experiment, images: Any, *given: Any) -> Any:
        if len(begun) == 2:
            stopped.set()
            raise KeyboardInterrupt
        begun.extend(images)
        return real_iterate(self, images, *given)

    made = fakes.experiment()
    run = fakes.new_run(tmp_path, made)
    monkeypatch.setattr(Run, "write", write)
    monkeypatch.setattr(Experiment, "iterate", iterate)
    with pytest.raises(KeyboardInterrupt):
        batches.complete(made, Records(run), fakes.IMAGES, 1)
    assert run.recorded() == {*begun} and len(begun) == 2


def test_nothing_is_collected_while_a_command_imports_and_all_is_as_before_after_it(
    monkeypatch: pytest.MonkeyPatch, gradproj: Gradproj, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def settle(runs: Any) -> None:
        seen.append(gc.isenabled())
        raise UserError("no such thing")

    monkeypatch.setattr(run_verb, "_settle", settle)
    assert gradproj("run", folder=tmp_path).code == 2
    assert seen == [False] and gc.isenabled()
