"""What the report refuses (damaged, edited, of another run, not comparable) and what it leaves out with a line."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_up import SCORES, STEPS, config, frame, make, rewrite, row, table

from gradproj.cli.table import main as cli
from gradproj.errors import UserError
from gradproj.report.build import build
from gradproj.report.choose import Choice, find
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack

pytestmark = pytest.mark.usefixtures("no_waiting")
STRICT, PARTIAL = Choice(strict=True), Choice(partial=True)


def refused(results: Path, choice: Choice = STRICT) -> str:
    with pytest.raises(UserError) as error:
        build(results, choice)
    assert not (results / "tables").exists()
    return str(error.value)


# --- what is wrong


def cut(run: Run) -> None:
    content = bytearray(run.record(ImageId(4, 2)).read_bytes())
    content[len(content) // 2] ^= 1
    run.record(ImageId(4, 2)).write_bytes(content)


def differing_twins(run: Run) -> None:
    content = run.record(ImageId(5, 0)).read_bytes()
    pack(run)
    run.record(ImageId(5, 0)).write_bytes(content.replace(b"5", b"6", 1))


def edited_config(run: Run) -> None:
    (run.folder / "config.yaml").write_text(yaml.safe_dump(run.config | {"keep": "best"}))


def copied(name: str) -> Callable[[Run], object]:
    return lambda run: shutil.copy(run.record(ImageId(5, 0)), run.images / f"{name}.csv")


def changed(step: int, values: dict[str, Any], image: ImageId = ImageId(2, 1)) -> Callable[[Run], None]:  # noqa: B008
    return lambda run: rewrite(run, image, lambda rows: rows[step].update(values))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"0004-2"),
        (differing_twins, r"0005-0"),
        (edited_config, r"edited"),
        (copied("0005-0 (1)"), r"0005-0 \(1\)"),
        (copied("00005-0"), r"00005-0"),
        (copied("0005"), r"0005\.csv"),
        (copied("0099-1"), r"0099-1"),
        (copied("0003-2"), r"0003-2"),
        (changed(40, {"step": 41.0}), r"0002-1\.csv: row 40 "),
        (changed(0, {"step": -0.5}), r"0002-1\.csv: row 0 "),
        *[
            (changed(step, {"matcher": value}), rf"0002-1\.csv: row {step} ")
            for step in (0, 30, STEPS)
            for value in (np.nan, np.inf)
        ],
        (changed(-1, dict.fromkeys(SCORES)), rf"0002-1\.csv: row {STEPS} "),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, damage: Callable[[Run], object], said: str) -> None:
    """Whatever is chosen, and all of it at once."""
    damage(make(tmp_path))
    for choice in (Choice(), PARTIAL):
        message = refused(tmp_path, choice)
        assert re.search(said, message)
        assert len(message.splitlines()) == 2


@pytest.mark.parametrize("name", ["model", "matcher"])
def test_other_weights_under_one_name_are_refused(tmp_path: Path, name: str) -> None:
    first = make(tmp_path, "mpgr")
    other = make(tmp_path, "ours", weights=config("ours")["weights"] | {name: {"weights.safetensors": "another"}})
    message = refused(tmp_path, Choice())
    assert f"{name} has other weights" in message and "--only" in message
    assert first.folder.name in message and other.folder.name in message
    assert len(message.splitlines()) == 2
    assert find(tmp_path, Choice(["*-mpgr-*"])).left_out == []  # the remedy


@pytest.mark.parametrize(("shift", "fine"), [(5e-4, True), (5e-3, False)])
def test_another_start_is_refused_in_the_scores_own_scale(tmp_path: Path, shift: float, fine: bool) -> None:
    runs = {"mpgr": make(tmp_path, "mpgr"), "ours": make(tmp_path, "ours", 2.0, shift)}
    if not fine:
        message = refused(tmp_path, Choice())
        assert all(f"{score} of image 0000-0 at step 0" in message for score in SCORES)
        return
    build(tmp_path)
    for method, run in runs.items():  # a gain is from the run's own start
        means = frame(run).groupby("step").matcher.mean()
        assert row(table(tmp_path), method, STEPS).matcher_gain == pytest.approx(means[STEPS] - means[0], rel=1e-4)


# --- what is unfinished or foreign


def lacking(run: Run) -> None:
    for name in ((0, 1), (0, 2), (4, 2)):
        run.record(ImageId(*name)).unlink()


def empty(run: Run) -> None:
    shutil.rmtree(run.images)
    run.images.mkdir()


def fewer_seeds(run: Run) -> None:
    for path in run.images.glob("*-2.csv"):
        path.unlink()


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (
            lacking,
            r"lacks 3 of 27 images \(0000-1 0000-2 0004-2\); finish it: gradproj.run method=none steps=20 seeds=3",
        ),
        (empty, "holds no finished image; finish it: gradproj.run method=none"),
        (fewer_seeds, "has seeds=2 of each prompt where 2 other runs have seeds=3"),
        (lambda run: (run.folder.parent / "notes.txt").touch(), "notes.txt is no run"),
        (lambda run: shutil.copytree(run.folder, run.folder.parent / "copy"), "copy"),
        (
            lambda run: (run.folder.parent / "old" / "images" / "0000-0.csv").mkdir(parents=True),
            "old has images but no",
        ),
    ],
)
def test_what_is_unfinished_or_foreign_is_left_out_with_a_line(
    tmp_path: Path, leave: Callable[[Run], object], said: str
) -> None:
    """Never a number less: what stays is what there is without it."""
    for method in ("mpgr", "ours"):
        make(tmp_path, method)
    (tmp_path / "runs" / ".hidden").mkdir()
    (expected,) = find(tmp_path).comparisons
    leave(make(tmp_path, "none"))
    found = find(tmp_path)
    assert len(found.left_out) == 1 and re.search(said, found.left_out[0])
    for method, curves in expected.methods.items():
        assert np.array_equal(curves.scores["matcher"], found.comparisons[0].methods[method].scores["matcher"])
    assert refused(tmp_path).splitlines()[1:] == found.left_out
    assert "hidden" not in refused(tmp_path)


@pytest.mark.parametrize("leave", [lacking, fewer_seeds])
def test_partial_takes_the_images_that_all_share(tmp_path: Path, leave: Callable[[Run], object]) -> None:
    runs = {method: make(tmp_path, method) for method in ("mpgr", "ours")}
    leave(runs["ours"])
    report = build(tmp_path, PARTIAL)
    shared = {path.stem for path in runs["ours"].images.glob("*.csv")}
    assert f"{len(shared)} of 27" in report.left_out[0]
    for method, run in runs.items():
        rows = frame(run).query("step == 80 and image in @shared")
        line = row(table(tmp_path), method, 80)
        assert line.n == len(shared) and line.matcher == pytest.approx(rows.matcher.mean(), rel=1e-5)
        assert line.matcher_gain_low < line.matcher_gain < line.matcher_gain_high


def test_an_unfinished_run_alone_and_nothing_at_all(tmp_path: Path) -> None:
    assert "holds no runs" in refused(tmp_path, Choice())
    lacking(make(tmp_path))
    message = refused(tmp_path, Choice())
    assert "no finished run" in message and "lacks 3 of 27" in message and "--partial" in message
    assert "no run or comparison is called x" in refused(tmp_path, Choice(["x"]))
    assert find(tmp_path, PARTIAL).comparisons


def test_all_problems_at_once_but_no_more_than_twenty(tmp_path: Path) -> None:
    for index in range(23):
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / f"stray{index:02d}").touch()
    message = refused(tmp_path)
    assert "stray00" in message and "stray19" in message and "stray20" not in message
    assert message.endswith("and 3 more")


# --- the command


def test_the_command_shows_the_newest_run_last_and_goes_on_past_a_refused_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "theirs")
    make(tmp_path)
    make(tmp_path, protocol="native")
    make(tmp_path, "mpgr", protocol="native")
    assert cli(["--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    titles = re.findall(r"^shapes climbing aesthetic, (\w+) protocol, 27 images of 9 prompts", said, re.MULTILINE)
    assert titles == ["common", "common", "native"]
    lines = [line for line in said.splitlines() if str(tmp_path) not in line]
    assert "<sub>" not in said and max(map(len, lines)) <= 100
    cut(make(tmp_path / "broken"))
    with pytest.raises(UserError, match="0004-2"):
        cli(["--results", str(tmp_path)])
    assert len(re.findall("shapes climbing", capsys.readouterr().out)) == 3
    assert cli(["--results", str(tmp_path), "--only", "*-native"]) == 0
    assert len(re.findall("shapes climbing", capsys.readouterr().out)) == 1
    with pytest.raises(UserError, match=r"no run or comparison is called nothing; there are .*shapes-aesthetic-common"):
        cli(["--results", str(tmp_path), "--only", "nothing"])
