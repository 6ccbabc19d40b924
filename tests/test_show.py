"""``gradproj show``: numbers as pandas reads them from the records, hostile prompts, pictures for terminals alone."""

import re
import sys
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from conftest import Gradproj
from PIL import Image as Pillow
from test_bad_inputs import state

from gradproj.runs import progress, scores, terminal
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack

HOSTILE = (
    "a 'quoted' \"ring\"",
    "../../etc/passwd and C:\\x",
    "two\nlines\r\nand a \ttab",
    "<script>alert(1)</script> & <b>",
    "a 🟥 cat 👩‍👩‍👧",
    "\x1b[2J\x1b]0;pwned\x07red\x1b[31m",
    "\u202eright to left\u2028",
    "\x9b31m\x07\x08bell",
    "$(rm -rf /) `x` %s {0}",
)


def small(results: Path, pictures: bool = True, **changes: Any) -> Run:
    """A run whose prompts try everything, with a start and a kept picture for each image."""
    run = Run.create(results, made_up.config("ours", prompts=list(HOSTILE), steps=20, **changes), {"command": ["g"]})
    for image in range(len(HOSTILE)):
        rows = made_up.trajectory("ours", image, 20, 2.0)
        pair = {kind: Pillow.new("RGB", (32, 32), (image, shade, 0)) for kind, shade in (("start", 9), ("kept", 99))}
        run.write(ImageId(image, 0), rows, pair if pictures else {})
    return run


def numbers(line: str) -> list[float]:
    return [float(one) for one in re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e[+-]\d+)?(?![\w-])", line)]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_numbers_of_a_run_are_those_of_its_records(tmp_path: Path, gradproj: Gradproj, keep: str) -> None:
    run = made_up.make(tmp_path / "results", keep=keep)
    code, out, err = gradproj("show", run.folder.name, folder=tmp_path)
    assert (code, err) == (0, "")
    rows = made_up.frame(run)
    mean = rows.groupby("step").reward.mean()
    line = next(line for line in out.splitlines() if " climbed (mean of 27), steps 0 to 80" in line)
    highest = [float(f"{mean.max():.4g}"), float(mean.idxmax())]
    assert numbers(line.split("80:")[1]) == pytest.approx([mean[0], mean[80], *highest], rel=1e-3)
    best = rows.loc[rows.groupby("image").reward.idxmax()]
    for score in made_up.SCORES:
        line = next(line for line in out.splitlines() if line.startswith(score + " ") and "->" not in line)
        of = [rows[rows.step == 0][score].mean(), best[score].mean(), rows[rows.step == 80][score].mean()]
        assert numbers(line) == pytest.approx(of, rel=1e-3)
        assert line.endswith("  climbed") == (score == "aesthetic")
    assert ("best step (kept)" in out, "last step (kept)" in out) == (keep == "best", keep == "last")
    for image, own in rows.groupby("image"):
        line = next(line for line in out.splitlines() if line.startswith(f"{image} "))
        ends = own.sort_values("step").reward.to_numpy()[[0, -1]]
        assert [float(one) for one in re.findall(r"(\S+) -> (\S+)", line)[0]] == pytest.approx(list(ends), rel=1e-3)


def test_the_numbers_of_an_image_are_those_of_its_record(
    tmp_path: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    run = made_up.make(tmp_path / "results")
    rows = made_up.frame(run)
    own = rows[rows.image == "0003-1"].sort_values("step")
    for which in (run.folder, run.folder.name):
        code, out, err = gradproj("show", which, "0003-1", folder=tmp_path)
        assert (code, err) == (0, "") and out.startswith(f"0003-1 of {run.folder.name}: shape 3\n")
        for score in made_up.SCORES:
            line = next(line for line in out.splitlines() if line.startswith(score + " ") and ":" not in line)
            of = own.set_index("step")[score]
            assert numbers(line) == pytest.approx([of[0], of[own.reward.to_numpy().argmax()], of[80]], rel=1e-3)
        assert set(out.splitlines()[2]) <= set(terminal.BLOCKS) and len(out.splitlines()[2]) == 81


def test_a_part_of_a_prompt_means_its_images_and_too_many_are_refused(tmp_path: Path, gradproj: Gradproj) -> None:
    run = made_up.make(tmp_path / "results")
    code, out, _ = gradproj("show", run.folder, "SHAPE 4", folder=tmp_path)
    assert code == 0 and re.findall(r"^(\S+) of ", out, re.MULTILINE) == ["0004-0", "0004-1", "0004-2"]
    code, _, err = gradproj("show", run.folder, "shape", folder=tmp_path)
    assert code == 2 and "27 images have 'shape' in their prompts: type one of them, such as 0000-0 (shape 0)" in err


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_hostile_prompts_reach_a_terminal_as_plain_text(
    tmp_path: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    run = small(tmp_path / "results")
    progress.fail(run, ImageId(0, 1), "RuntimeError: \x1b[31mred\x07 \u202e")
    before = state(tmp_path)
    monkeypatch.setattr(terminal, "blocks", lambda _, own=terminal.blocks: own(encoding))
    said = [gradproj("show", run.folder, *which, folder=tmp_path) for which in [(), *((text,) for text in HOSTILE)]]
    refused = [(run.folder, "0000-1"), (run.folder, "\x1b[2J" * 2), ("\x1b[2J",)]
    said += [gradproj("show", *arguments, folder=tmp_path) for arguments in refused]
    assert [code for code, _, _ in said] == [0] * (1 + len(HOSTILE)) + [2] * 3
    for _, out, err in said:
        assert not [one for one in out + err if not (one.isprintable() or one in "\n\u200d")]
    lines = said[0].out.splitlines()
    for prompt in range(len(HOSTILE)):
        assert sum(line.startswith(f"000{prompt}-0 ") for line in lines) == 1
    assert "0000-1 failed: RuntimeError: \\x1b[31mred\\x07 \\u202e" in lines
    for prompt, (_, out, _) in zip(HOSTILE, said[1:], strict=False):
        assert out.splitlines()[0].endswith(terminal.printable(prompt))
    assert "0000-1 failed: RuntimeError: \\x1b[31mred" in said[-3].err
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("tty", "arguments", "drawn"), [(True, (), True), (True, ("--no-pictures",), False), (False, (), False)]
)
def test_pictures_are_drawn_in_a_terminal_alone(
    tmp_path: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tty: bool, arguments: tuple, drawn: bool
) -> None:
    run = small(tmp_path / "results")
    monkeypatch.setenv("TERM", "xterm-kitty")
    for name in ("TMUX", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: tty)
    for image in ((), ("0002-0",)):
        code, out, err = gradproj("show", run.folder, *image, *arguments, folder=tmp_path)
        assert (code, err) == (0, "")
        assert ("\x1b_Ga=T,f=100" in out) == drawn and out.count("\x1b_G") == drawn


def test_a_swapped_picture_is_not_drawn(tmp_path: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small(tmp_path / "results")
    run.kept(ImageId(2, 0)).write_bytes(run.kept(ImageId(3, 0)).read_bytes())
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("TERM_PROGRAM", raising=False)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    code, out, err = gradproj("show", run.folder, "0002-0", folder=tmp_path)
    assert code == 2 and "\x1b" not in out and "0002-0.png is not the picture that was recorded" in err


def test_a_packed_run_without_pictures_says_how_to_get_them(tmp_path: Path, gradproj: Gradproj) -> None:
    run = small(tmp_path / "results", pictures=False)
    pack(run)
    for image in ((), ("0002-0",)):
        code, out, _ = gradproj("show", run.folder, *image, folder=tmp_path)
        assert code == 0 and f"no PNGs here: gradproj replay {run.folder} " in out


def test_a_run_without_a_record_and_a_score_given_afterwards(tmp_path: Path, gradproj: Gradproj) -> None:
    empty = Run.create(tmp_path / "results", made_up.config("none"), {})
    code, out, _ = gradproj("show", empty.folder, folder=tmp_path)
    assert (code, out) == (0, f"{empty.folder.name}: 0 images of 0 prompts, 80 steps\n")
    run = small(tmp_path / "results")
    pairs = {image: (float(image.prompt), 1.0 + image.prompt) for image in run.recorded()}
    scores.add(run, "late", scores.Scores({"weights": {}, "settings": {}}, pairs))
    _, out, _ = gradproj("show", run.folder, folder=tmp_path)
    line = next(line for line in out.splitlines() if line.startswith("late "))
    assert line.split()[1:] == [f"{np.mean(range(len(HOSTILE))):.4g}", "-", f"{np.mean(range(len(HOSTILE))) + 1:.4g}"]


def test_an_id_in_two_places_is_refused_with_both(tmp_path: Path, gradproj: Gradproj) -> None:
    run = made_up.make(tmp_path / "results")
    other = made_up.make(tmp_path / "results" / "theirs")
    code, _, err = gradproj("show", run.folder.name, folder=tmp_path)
    assert code == 2 and f"results/runs/{run.folder.name}" in err and f"results/theirs/runs/{other.folder.name}" in err
    assert gradproj("show", other.folder, folder=tmp_path).code == 0
