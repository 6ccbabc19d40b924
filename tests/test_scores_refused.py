"""Scores given afterwards are refused where they are cut, foreign, doubled or cannot be."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scored
import torch
from made_up import config
from PIL.Image import Image as Picture
from scored import Brightness, refusal, state, write

from gradproj.execution.contract import pictures as contract_pictures
from gradproj.execution.contract import to_8_bit
from gradproj.execution.rescore import rescore
from gradproj.report.build import build
from gradproj.runs import scores
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack
from gradproj.runs.scores import Scores

script = scored.script


@pytest.mark.parametrize("gone", ["*.png", "0001-1.png", "0001-1-start.png"])
def test_pictures_that_are_not_there_are_named_before_the_work(tmp_path: Path, gone: str) -> None:
    run, reward = write(tmp_path), Brightness()
    pack(run)
    for path in run.images.glob(gone):
        path.unlink()
    message = refusal(rescore, run, "brightness", reward, {})
    count, first = (18, "0000-0-start.png") if gone == "*.png" else (1, gone)
    assert f"{count} of 18 pictures" in message and str(run.images / first) in message and run.command in message
    assert reward.calls == [] and not (run.folder / "scores").exists()


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    run = write(tmp_path)
    path = run.images / "0001-1.png"
    to_8_bit(contract_pictures(32, 32))[0][0].save(path)
    for content in (b"", b"hello", path.read_bytes()[:-500]):
        path.write_bytes(content)
        assert f"{path} is cut or no picture" in refusal(rescore, run, "brightness", Brightness(), {})


@pytest.mark.parametrize("change", ["weights", "settings", "file"])
def test_two_checkpoints_under_one_name_are_refused(tmp_path: Path, change: str) -> None:
    run = write(tmp_path, "ours", 1)
    rescore(run, "brightness", Brightness(), {"size": 1, "repo": None})
    write(tmp_path)
    before = state(run.folder)
    other = Brightness("two") if change == "weights" else Brightness()
    if change == "file":
        other.weights |= {"tokenizer.json": "1"}
    settings = {"size": 2 if change == "settings" else 1, "repo": None}
    message = refusal(rescore, run, "brightness", other, settings)
    assert "another checkpoint or other settings" in message
    assert str(run.folder / "scores" / "brightness.csv") in message and "move it away, then score again" in message
    assert (state(run.folder), other.calls) == (before, [])
    (run.folder / "scores" / "brightness.csv").unlink()
    assert rescore(run, "brightness", other, settings) == 9  # the advice works


def test_a_reward_that_the_records_have_is_refused(tmp_path: Path) -> None:
    run, reward = write(tmp_path), Brightness()
    assert "dual in its records: there is nothing to score again" in refusal(rescore, run, "dual", reward, {})
    assert not (run.folder / "scores").exists() and reward.calls == []


def test_a_file_for_a_reward_that_the_records_have_is_refused_by_the_table(tmp_path: Path) -> None:
    run = write(tmp_path)
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    seal(path.rename(path.with_stem("dual")), b'"brightness"', b'"dual"')
    assert f"dual in its records: remove {path.with_stem('dual')}" in refusal(build, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused_and_not_kept(tmp_path: Path, value: float) -> None:
    run = write(tmp_path)
    message = refusal(
        scores.add, run, "brightness", Scores({}, {ImageId(0, 0): (1.0, 2.0), ImageId(0, 1): (1.0, value)})
    )
    assert "brightness gives image 0000-1" in message and "not a finite number" in message
    assert scores.read(run) == {}


def test_a_reward_that_fails_is_said_and_leaves_what_it_did(tmp_path: Path) -> None:
    class Failing(Brightness):
        def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> torch.Tensor:
            if prompts[0] == "shape 2":
                raise torch.OutOfMemoryError("64 GiB")
            return super().score(pictures, prompts)

    run = write(tmp_path)
    message = refusal(lambda: rescore(run, "brightness", Failing(), {}, batch=3))
    assert "images 0002-0 to 0002-2" in message and "64 GiB" in message and "same command goes on" in message
    assert len(scores.read(run)["brightness"].values) == 6


def seal(path: Path, old: bytes, new: bytes) -> None:
    """Change a scores file and seal it again, as another writer would."""
    text = path.read_bytes().rpartition(b"# sha256 ")[0]
    assert old in text
    text = text.replace(old, new, 1)
    path.write_bytes(text + b"# sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n")


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    if kind == "foreign columns":
        return seal(path, b"image,start,kept", b"image,kept,start")
    if kind == "a column more":
        return seal(path, b"0000-0,0,5", b"0000-0,0,5,5")
    if kind == "no checkpoint":
        return seal(path, lines[0], b"# []\n")
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-200],
            "a row less": b"".join([*lines[:4], *lines[5:]]),
            "a digit": content.replace(b"0000-0,0,5", b"0000-0,0,6"),
            "another checkpoint": content.replace(b'"one"', b'"two"'),
            "no seal": b"".join(lines[:-1]),
            "a record": (path.parents[1] / "images" / "0000-0.csv").read_bytes(),
            "not text": b"\xff\xfe" + content,
        }[kind]
    )
    return None


CUT = ("empty", "cut", "a row less", "a digit", "another checkpoint", "no seal", "not text")
FOREIGN = ("foreign columns", "a column more", "no checkpoint", "a record")


@pytest.mark.parametrize("kind", [*CUT, *FOREIGN])
def test_a_cut_edited_or_foreign_file_is_refused_everywhere(tmp_path: Path, kind: str) -> None:
    run = write(tmp_path)
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    whole = path.read_bytes()
    damage(path, kind)
    before = state(run.folder)
    for message in (refusal(rescore, run, "brightness", Brightness(), {}), refusal(build, tmp_path)):
        assert f"{path} is {'cut or edited' if kind in CUT else 'foreign'}" in message
        assert ("remove it" if kind in CUT else "move it away") in message and "score again" in message
    assert state(run.folder) == before and not (tmp_path / "tables").exists()
    path.unlink()
    rescore(run, "brightness", Brightness(), {})  # the advice works
    assert path.read_bytes() == whole


def test_another_runs_file_and_a_copy_under_another_name_are_foreign(tmp_path: Path) -> None:
    run, other = write(tmp_path), write(tmp_path, "mpgr")
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    stolen = other.folder / "scores" / path.name
    stolen.parent.mkdir()
    shutil.copy(path, stolen)
    assert f"{stolen} is foreign: it does not hold brightness of {other.folder.name}" in refusal(scores.read, other)
    twin = path.with_stem("brightness (1)")
    shutil.copy(path, twin)
    assert f"{twin} is foreign" in refusal(scores.read, run)


def test_the_script_says_what_is_wrong_and_does_the_other_runs(tmp_path: Path, script: Callable[..., Any]) -> None:
    recorded_there = write(tmp_path, rewards=config("ours")["rewards"] | {"shapes_aesthetic": {}})
    run = write(tmp_path, "mpgr")
    for arguments, fragment in [
        (["nothing", run.folder], "nothing"),
        (["shapes", run.folder], "shapes"),
        (["shapes_aesthetic", tmp_path], "is no run, it has no config.yaml"),
        (["shapes_aesthetic", "rewards.shapes_aesthetic.size=3"], "no run given"),
        (["shapes_aesthetic", run.folder, "rewards.shapes_aesthetic.size=3"], "shapes_aesthetic.size"),
        (["shapes_aesthetic", run.folder, "--batch", "0"], "at least 1"),
        (["shapes_aesthetic", run.folder, "--config-dir", tmp_path / "nowhere"], "no folder"),
    ]:
        code, out, error = script(*arguments)
        assert (code, out) == (2, "") and fragment in error.splitlines()[-1]
    code, out, error = script("shapes_aesthetic", recorded_there.folder, run.folder, "--batch", "4")
    assert code == 2 and "shapes_aesthetic in its records" in error
    assert out == f"{run.folder}: 9 images scored\n"
    code, out, _ = script("shapes_aesthetic", run.folder)
    assert (code, out) == (0, f"{run.folder}: 0 images scored\n")
