"""Damaged records are made again and nothing is lost; an image that fails stops no other one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import faults
import pytest
from faults import ALL, without_seconds, work
from PIL import Image as Pillow

from gradproj.models.shapes import Shapes
from gradproj.noise import initial_latent
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack

copied, reference = faults.copied, faults.reference

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "0000-0": lambda _: b"",
    "0000-1": lambda whole: whole[: len(whole) // 2],
    "0001-0": lambda whole: whole + os.urandom(40),
    "0001-1": lambda whole: whole[:-200] + bytes(200),  # blocks that never reached the disk
    "0002-0": lambda whole: whole[:-1],
}


def test_damaged_records_are_made_again_and_nothing_else_is_touched(
    copied: Run, reference: tuple[Run, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    remains = {f"{name}.csv": damage((copied.images / f"{name}.csv").read_bytes()) for name, damage in DAMAGE.items()}
    for name, content in remains.items():
        (copied.images / name).write_bytes(content)
    sound = {path: path.stat().st_mtime_ns for path in copied.images.glob("0002-1*")}
    assert work(copied.folder.parents[1]).unfinished is None
    said = capsys.readouterr().out
    assert "1 of 6 images recorded, 5 to do" in said and "5 damaged records (0000-0" in said
    assert without_seconds(copied) == reference[1]
    assert {path.stem: path.read_bytes() for path in copied.images.glob("*.damaged")} == remains
    assert {path: path.stat().st_mtime_ns for path in copied.images.glob("0002-1*")} == sound
    (copied.images / "0001-0.csv").write_bytes(b"again")
    work(copied.folder.parents[1])
    assert (copied.images / "0001-0.csv.damaged").read_bytes() == remains["0001-0.csv"]
    assert (copied.images / "0001-0.csv.2.damaged").read_bytes() == b"again"


def test_a_damaged_copy_beside_a_packed_record_is_moved_aside_alone(
    copied: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(copied)
    (copied.images / "0001-0.csv").write_bytes(b"cut")
    assert work(copied.folder.parents[1]).recorded == 6
    assert "6 of 6 images recorded, 0 to do" in capsys.readouterr().out
    assert (copied.images / "0001-0.csv.damaged").read_bytes() == b"cut" and copied.recorded() == ALL


def test_a_shard_is_not_stopped_by_another_ones_damaged_record(copied: Run) -> None:
    path = copied.images / "0000-1.csv"
    path.write_bytes(b"")
    assert work(copied.folder.parents[1], "shards=2").unfinished is None
    assert path.read_bytes() == b""


def test_a_whole_record_is_never_overwritten(tmp_path: Path) -> None:
    run, _ = fakes.complete(tmp_path)
    before = {path.name: path.read_bytes() for path in run.images.iterdir()}
    run.write(ImageId(0, 0), [{"step": 1.0}], {"kept": Pillow.new("RGB", (1, 1))})
    assert {path.name: path.read_bytes() for path in run.images.iterdir()} == before


def test_two_that_find_the_same_cut_record_both_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = fakes.complete(tmp_path)
    path, real = run.images / "0000-0.csv", Path.replace
    rows: Any = run.table(ImageId(0, 0)).to_dict("records")
    path.write_bytes(path.read_bytes()[:50])

    def taken(self: Path, target: Path) -> Path:
        if target.suffix == ".damaged" and self.exists():
            real(self, target)  # by the other one, in between
        return real(self, target)

    monkeypatch.setattr(Path, "replace", taken)
    run.write(ImageId(0, 0), rows, {})
    assert len(run.recorded()) == 4


def test_an_image_that_fails_is_tried_so_often_and_no_more_until_told(
    tmp_path: Path, reference: tuple[Run, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, tries, real = initial_latent((3, 32, 32), [(1, 0)]), [], Shapes.generate

    def spoilt(self: Shapes, latent: Any, condition: Any) -> Any:
        if latent.shape == bad.shape and latent.sub(bad).abs().max() == 0:
            tries.append(1)
            raise RuntimeError("CUDA error: an illegal\nmemory access")
        return real(self, latent, condition)

    with monkeypatch.context() as patch:
        patch.setattr(Shapes, "generate", spoilt)
        for retries, attempts, failed in ((1, 1, 1), (1, 2, 0), (1, 2, 0), (2, 3, 0)):
            outcome = work(tmp_path, f"max_retries={retries}")
            assert (outcome.recorded, outcome.failed, outcome.given_up) == (5, failed, 1 - failed)
            assert len(tries) == attempts and outcome.run.recorded() == ALL - {ImageId(1, 0)}
            lines = (outcome.run.images / "0001-0.failed").read_text().splitlines()
            assert lines == ["RuntimeError: CUDA error: an illegal memory access"] * attempts
        (outcome.run.images / "0001-0.csv").write_bytes(b"")  # what a kill may leave beside it
        assert progress.failures(outcome.run).keys() == {ImageId(1, 0)}
        assert work(tmp_path).given_up == 1
    assert work(tmp_path, "max_retries=3").unfinished is None
    assert not list(outcome.run.images.glob("*.failed"))
    assert without_seconds(outcome.run) == reference[1]
