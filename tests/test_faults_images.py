"""Damaged records are made again and nothing is lost; an image that fails stops no other one."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults
import pytest
import test_command_line as line
import test_experiment as fakes
import torch
from conftest import names_of
from faults import BASE, Inside, Shown, without_seconds

from gradproj.execution import experiment
from gradproj.noise import initial_latent
from gradproj.runs import progress, status
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack

copy_of_reference, look, reference, inside = faults.copy_of_reference, faults.look, faults.reference, faults.inside


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "0000-0": lambda _: b"",
    "0000-1": lambda whole: whole[: len(whole) // 2],
    "0001-0": lambda whole: whole + os.urandom(40),
    "0001-1": lambda whole: whole[:-200] + bytes(200),  # blocks that never reached the disk
    "0002-0": lambda whole: whole[:-1],
    "0002-1": lambda whole: whole.replace(b"\n3,", b"\n3,9", 1),  # its last line says nothing
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
    assert code == 1 and "0 of 6 images recorded" in said
    code, out, error = inside(tmp_path, *BASE)
    assert code == 0, error
    assert "0 of 6 images recorded, 6 to do" in out and "6 of the others were damaged (0000-0" in out
    assert without_seconds(run) == reference[1]
    assert {path.stem[:6]: path.read_bytes() for path in run.images.glob("*.damaged")} == remains
    assert look(tmp_path / "results")[0] == 0
    (run.images / "0001-0.csv").write_bytes(b"again")
    assert inside(tmp_path, *BASE)[0] == 0
    assert (run.images / "0001-0.csv.damaged").read_bytes() == remains["0001-0"]
    assert (run.images / "0001-0.csv.2.damaged").read_bytes() == b"again"


def test_a_sound_record_is_left_as_it_is_when_another_one_is_made_again(copy_of_reference: Run, inside: Inside) -> None:
    run = copy_of_reference
    (run.images / "0001-0.csv").write_bytes(b"")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.images.glob("*[!0]-*")}
    assert inside(run.folder.parents[2], *BASE)[0] == 0
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.images.glob("*[!0]-*")}
    assert {name: after[name] for name in before if not name.startswith("0001-0")} == {
        name: one for name, one in before.items() if not name.startswith("0001-0")
    }


def test_a_damaged_copy_beside_a_packed_record_is_moved_aside_alone(copy_of_reference: Run, inside: Inside) -> None:
    run = copy_of_reference
    pack(run)
    (run.images / "0001-0.csv").write_bytes(b"cut")
    code, out, _ = inside(run.folder.parents[2], *BASE)
    assert code == 0 and "6 of 6 images recorded, 0 to do" in out
    assert (run.images / "0001-0.csv.damaged").read_bytes() == b"cut" and len(names_of(run)) == 6


def test_a_shard_is_not_stopped_by_another_ones_damaged_record(tmp_path: Path, inside: Inside) -> None:
    assert inside(tmp_path, *BASE, "shards=2", "shard=1", "method=none")[0] == 0
    path = line.only_run(tmp_path).images / "0000-1.csv"
    path.write_bytes(b"")
    assert inside(tmp_path, *BASE, "shards=2", "shard=0", "method=none")[0] == 0
    assert path.read_bytes() == b""


def test_a_whole_record_is_never_overwritten(tmp_path: Path) -> None:
    run, _ = fakes.complete(tmp_path)
    before = {path.name: path.read_bytes() for path in run.images.iterdir()}
    run.write(ImageId(0, 0), [{"step": 1.0}], {"kept": fakes.Pillow.new("RGB", (1, 1))})
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
    run.write(ImageId(0, 0), rows, {})
    assert len(names_of(run)) == 4


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
            assert names_of(run) == line.ALL - {"0001-0"}
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
        assert failed == len(progress.failures(run)) == lost and len(names_of(run)) == 4 - lost


def test_an_image_that_left_a_cut_record_and_fails_is_given_up_too(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "reward")
    assert inside(tmp_path, *BASE, "max_retries=0")[0] == 1
    run = line.only_run(tmp_path)
    (run.images / "0001-0.csv").write_bytes(b"")
    assert progress.failures(run).keys() == {"0001-0"}
    assert status.status(run).failed == 1


def test_a_bad_cell_of_a_sweep_does_not_stop_the_others(tmp_path: Path, inside: Inside) -> None:
    code, _, error = inside(tmp_path, "-m", *BASE, "method=ours", "method.block=7,16")
    assert code in (1, 2) and "tile" in error
    assert names_of(line.only_run(tmp_path)) == line.ALL
