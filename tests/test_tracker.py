"""``tracker=``: what a tracker is given is what the records have, and whatever it does, the records are the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import processes
import pytest
from conftest import Gradproj
from fakes import IMAGES, Model, experiment, new_run, numbers, saved
from PIL.Image import Image as Picture

from gradproj.errors import UserError
from gradproj.execution.batches import complete as complete_batches
from gradproj.execution.destination import Records
from gradproj.execution.improve import improve
from gradproj.execution.settings.compose import compose_run
from gradproj.execution.tracked import Tracked, tracker_of
from gradproj.execution.trackers import Snapshot
from gradproj.execution.trackers.tensorboard import TensorBoard
from gradproj.execution.trackers.trackio import Trackio
from gradproj.execution.trackers.wandb import Wandb
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

HOSTILE = [
    'say "it\'s" / \\',
    "two\nlines\n\n# and more",
    "<script>alert(1)</script> & <b>",
    "🟥 ${oc.env:HOME} \u202e",
]
SCORED = [0, 3, 6, 7]  # of 7 steps, every third and the last


def follow(folder: Path, tracker: Any, images: Sequence[ImageId] = IMAGES, batch: int = 4, **changes: Any) -> Run:
    """The run of the fakes, gone on with, and followed by ``tracker``; None: without one."""
    made = experiment(**changes)
    run = new_run(folder, made)
    records = Records(run)
    complete_batches(made, Tracked(records, tracker, run, "") if tracker else records, images, batch)
    return run


class Noting:
    """Notes what it is given, then spoils it, and raises in the call ``bad``."""

    def __init__(self, bad: str = "", error: type[BaseException] = ValueError) -> None:
        self.bad, self.error = bad, error
        self.calls: list[tuple[Any, ...]] = []

    def start(self, *given: Any) -> None:
        self._called("start", *given)

    def log(self, step: int, snapshots: Sequence[Snapshot]) -> None:
        self._called("log", step, [(one.image, one.prompt, dict(one.numbers), one.strip.copy()) for one in snapshots])
        for snapshot in snapshots:
            snapshot.strip.paste((255, 0, 0), (0, 0, *snapshot.strip.size))
            snapshot.numbers.update(reward=1e9)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self._called("finish")

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self.bad:
            raise self.error("no\nroom \x1b[31m")


def expect_row(given: Mapping[str, float], row: Mapping[str, float], rel: float = 1e-5) -> None:
    """The numbers of one image at one step are those of its record, which has six digits."""
    there = {str(name): value for name, value in row.items() if name != "step" and np.isfinite(value)}
    assert given == pytest.approx(there, rel=rel)


# --- what every tracker is given


def test_it_sees_the_scored_rows_of_every_record_and_a_strip_of_the_way(tmp_path: Path) -> None:
    tracker = Noting()
    run = follow(tmp_path, tracker, batch=3, prompts=HOSTILE)
    assert [call[0] for call in tracker.calls] == ["start", *["log"] * 8, "finish"]
    name, share, config = tracker.calls[0][1:]
    assert (name, share, config["steps"], "prompts" in config) == (run.folder.name, "", 7, False)
    logged = {(image, step): rest for _, step, batch in tracker.calls[1:-1] for image, *rest in batch}
    assert logged.keys() == {(str(image), step) for image in IMAGES for step in SCORED}
    for (image, step), (prompt, given, strip) in logged.items():
        number = int(image.split("-")[0])
        assert prompt == HOSTILE[number]
        expect_row(given, run.table(ImageId(number, 0)).iloc[step])
        columns = SCORED.index(step) + 1
        side = strip.width // columns
        assert strip.size == (side * columns, side + 14)
        start = saved(run.pictures(ImageId(number, 0))["start"])
        assert np.array_equal(np.asarray(strip)[14 + side // 2 // 6, side // 2 // 5], start[0, 0])


def test_a_long_run_has_strips_of_a_dozen_pictures(tmp_path: Path) -> None:
    tracker = Noting()
    follow(tmp_path, tracker, images=IMAGES[:1], steps=40, score_every=1)
    widths = [batch[0][3].width // 20 for _, _, batch in tracker.calls[1:-1]]
    assert len(widths) == 41 and widths[0] == 1 and widths[-1] == 11 and max(widths) <= 12


# --- whatever it does, the records are the same


@pytest.mark.parametrize("error", [ValueError, SystemExit, MemoryError])
@pytest.mark.parametrize("bad", ["", "start", "log", "finish"])
def test_the_records_are_the_same_and_what_it_raises_is_told_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    bad: str,
    error: type[BaseException],
) -> None:
    monkeypatch.delitem(sys.modules, "submitit.core.utils", raising=False)  # this is no task of a cluster
    without = follow(tmp_path / "without", None)
    capsys.readouterr()
    run = follow(tmp_path / "with", Noting(bad, error), batch=2)
    told = [line for line in capsys.readouterr().err.splitlines() if "tracker" in line]
    assert len(told) == bool(bad) and not any("\x1b" in line for line in told)
    if bad:
        assert f"the tracker Noting failed and is left out from here on ({error.__name__}: no\\nroom \\x1b" in told[0]
    assert run.folder.name == without.folder.name and not progress.failures(run)
    for image in IMAGES:
        pd.testing.assert_frame_equal(numbers(run, image.prompt), numbers(without, image.prompt), check_exact=True)
        for kind, path in run.pictures(image).items():
            assert np.array_equal(saved(path), saved(without.pictures(image)[kind]))


@pytest.mark.parametrize("end", ["Ctrl-C", "pre-emption", "time limit"])
def test_who_ends_the_run_ends_it_inside_of_a_tracker_too(tmp_path: Path, end: str) -> None:
    kind: type[BaseException] = KeyboardInterrupt
    if end != "Ctrl-C":
        utils = pytest.importorskip("submitit.core.utils")
        kind = SystemExit if end == "pre-emption" else utils.UncompletedJobError
    tracker = Noting("log", kind)
    with pytest.raises(kind):
        follow(tmp_path, tracker)
    assert [call[0] for call in tracker.calls] == ["start", "log", "finish"]


def test_where_nothing_is_to_do_it_is_not_started(tmp_path: Path) -> None:
    tracker = Noting()
    follow(tmp_path, None)
    follow(tmp_path, tracker)
    assert tracker.calls == []


# --- TensorBoard, read by its own reader


def read(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0}).Reload()


def expect_events(run: Run, folder: Path, image: ImageId, prompt: str, scored: Sequence[int]) -> None:
    """The image's folder of events has the scored rows of its record, a strip for each, and the prompt."""
    events = read(folder / run.folder.name / str(image))
    given: dict[int, dict[str, float]] = {step: {} for step in scored}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            assert tag not in given[event.step], "drawn once"
            given[event.step][tag] = event.value
    for step, row in given.items():
        expect_row(row, run.table(image).iloc[step])
    assert [event.step for event in events.Images("pictures")] == list(scored)
    (text,) = events.Tensors("prompt/text_summary")
    (written,) = text.tensor_proto.string_val
    assert written.decode().splitlines() == [f"    {line}" for line in prompt.splitlines()]


def test_tensorboard_has_what_the_records_have(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = follow(tmp_path / "results", TensorBoard(str(tmp_path / "events")), batch=3, prompts=HOSTILE)
    for image in IMAGES:
        expect_events(run, tmp_path / "events", image, HOSTILE[image.prompt], SCORED)


def test_in_tensorboard_an_image_that_is_made_again_is_drawn_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    first = follow(tmp_path, TensorBoard(str(tmp_path / "events")), model=Model("device", start=5))
    assert len(progress.failures(first)) == 4
    run = follow(tmp_path, TensorBoard(str(tmp_path / "events")))
    assert len(run.recorded()) == 4
    for image in IMAGES:
        expect_events(run, tmp_path / "events", image, experiment().prompts[image.prompt], SCORED)


def test_the_command_s_runs_have_their_names_and_shards_and_a_tracker_is_in_none(
    gradproj: Gradproj, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    typed = ["steps=3", "score_every=2", "prompts=[a red ring,a blue cross]", "shards=2", "batch=1"]
    code, _, err = gradproj("run", "-m", "method=none,ours", "tracker=tensorboard", *typed, folder=tmp_path)
    assert code == 0, err
    runs = [Run.open(path) for path in sorted((tmp_path / "results" / "runs").iterdir())]
    assert len(runs) == 2 and not any("tracker" in run.config for run in runs)
    for run in runs:
        for image in (ImageId(0, 0), ImageId(1, 0)):
            prompt = run.config["prompts"][image.prompt]
            expect_events(run, tmp_path / "results" / "tracker" / "tensorboard", image, prompt, [0, 2, 3])
    code, out, err = gradproj("run", "method=none", *typed[:3], folder=tmp_path)
    assert code == 0 and "2 of 2 images recorded" in out, err


# --- wandb and trackio: the calls


def fake(calls: list[tuple[str, Any]]) -> SimpleNamespace:
    """What is used of both packages, each call noted."""

    def noting(name: str) -> Callable[..., None]:
        return lambda *given, **named: calls.append((name, given or named))

    run = SimpleNamespace(
        log=lambda values, step=None: calls.append(("log", (values, step))),
        define_metric=lambda name, step_metric: calls.append(("metric", (name, step_metric))),
        finish=noting("finish"),
    )

    def init(*given: Any, **named: Any) -> Any:
        calls.append(("init", {**named, **({"project": given[0]} if given else {})}))
        return run

    image = lambda strip, caption: (strip, caption)  # noqa: E731
    return SimpleNamespace(init=init, Image=image, Settings=dict, finish=run.finish)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_their_run_is_that_of_the_run_id_and_an_image_is_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, name, fake(calls))
    tracker = Wandb(str(tmp_path / "new" / "folder"), "mine") if name == "wandb" else Trackio("mine")
    run = follow(tmp_path, tracker, batch=3, prompts=HOSTILE)
    (begun,) = [named for call, named in calls if call == "init"]
    assert {key: begun[key] for key in ("project", "name", "group")} == {
        "project": "mine",
        "name": run.folder.name,
        "group": run.folder.name,
    }
    assert calls[-1] == ("finish", {})
    logged = [given for call, given in calls if call == "log"]
    seen: set[tuple[str, int]] = set()
    for values, step in logged:
        for image in {key.split("/")[0] for key in values}:
            own = {key.split("/")[1]: value for key, value in values.items() if key.split("/")[0] == image}
            number, (strip, caption) = int(image[:4]), own.pop("pictures")
            at = own.pop("step") if name == "wandb" else step
            assert isinstance(strip, Picture) and caption == HOSTILE[number]
            expect_row(own, run.table(ImageId(number, 0)).iloc[at])
            seen.add((image, at))
    assert seen == {(str(image), step) for image in IMAGES for step in SCORED}
    if name == "wandb":
        assert begun["mode"] == "offline" and (tmp_path / "new" / "folder").is_dir()
        metrics = [given for call, given in calls if call == "metric"]
        assert sorted(metrics) == [(f"{image}/*", f"{image}/step") for image in map(str, IMAGES)]


# --- wandb and trackio themselves, where they are installed


def test_wandb_itself_keeps_a_run_for_each_run_id_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    tracker = Wandb(str(tmp_path), "gradproj")
    runs = [follow(tmp_path / "records", tracker, prompts=HOSTILE, steps=steps) for steps in (6, 7)]
    for run in runs:
        (folder,) = (tmp_path / "wandb").glob(f"offline-run-*-{run.folder.name}")
        media = folder / "files" / "media" / "images"
        assert {path.name for path in media.iterdir()} == {str(image) for image in IMAGES}
        log = (folder / f"run-{run.folder.name}.wandb").read_bytes()
        assert b"0003-0/latent_rms" in log


READ = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps({run: SQLiteStorage.get_logs("gradproj", run) for run in SQLiteStorage.get_runs("gradproj")}))
"""


def test_trackio_itself_has_what_the_records_have(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": os.pathsep.join(sys.path)}
    typed = [
        "tracker=trackio",
        "steps=3",
        "score_every=2",
        "method=none",
        "batch=1",
        "prompts=[a red ring,a blue cross]",
    ]
    done = processes.command(tmp_path, "run", *typed, environment=environment)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-c", READ]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    ((name, rows),) = json.loads(said.splitlines()[-1]).items()
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    run = Run.open(folder)
    assert name == folder.name and len(rows) == 6
    for row in rows:
        own = {key.split("/")[1]: value for key, value in row.items() if "/" in key}
        (image,) = {key.split("/")[0] for key in row if "/" in key}
        assert own.pop("pictures")["caption"] == run.config["prompts"][int(image[:4])]
        expect_row(own, run.table(ImageId.parse(image)).iloc[row["step"]])


# --- what is refused before the first step


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
@pytest.mark.parametrize("typed", [(), ("-m", "method=none,ours")])
def test_a_missing_package_is_told_with_what_to_type(
    gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, typed: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    code, _, err = gradproj("run", *typed, f"tracker={name}", folder=tmp_path)
    assert code == 2 and err.count(f"type pip install 'gradproj[{name}]'") == 1
    assert list(tmp_path.iterdir()) == []


def test_trackio_that_would_send_it_away_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/somewhere")
    settings, _ = compose_run(["tracker=trackio"])
    with pytest.raises(UserError, match="unset TRACKIO_SPACE_ID"):
        tracker_of(settings)


def test_from_python_a_tracker_wants_records() -> None:
    with pytest.raises(UserError, match="give results='results', too"):
        improve("a red ring", steps=1, overrides=["tracker=tensorboard"])
