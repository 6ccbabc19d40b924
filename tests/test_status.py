"""``gradproj status``: what is recorded, failed, missing and damaged, whatever lies in the folder."""

import errno
import itertools
import os
import random
import shutil
import time
from pathlib import Path

import fakes
import faults
import pytest
from faults import Shown, recorded

from gradproj.errors import UserError
from gradproj.execution import destination, plan
from gradproj.runs import contents, progress, scores, status
from gradproj.runs.naming import ImageId, Share
from gradproj.runs.packing import pack, unpack
from gradproj.runs.results import find

look = faults.look


def test_status_counts_what_was_asked_for(tmp_path: Path, look: Shown) -> None:
    code, said = look(tmp_path)
    assert code == 2 and "no runs" in said
    run = recorded(tmp_path)
    code, said = look(tmp_path)
    assert code == 0 and "4 of 4 images recorded" in said and "the same commands" not in said
    for seeds in (3, 2):
        progress.ask(run, seeds)
    for _ in range(2):
        progress.fail(run, ImageId(1, 2), "the device\nis gone")
    (run.images / "0003-1.csv").write_bytes(b"cut")
    for change in (lambda: None, lambda: (run.images / "0003-1.csv").unlink(), lambda: pack(run), lambda: unpack(run)):
        change()
        code, said = look(tmp_path)
        row = next(line for line in said.splitlines() if line.startswith(run.folder.name))
        assert code == 1 and row.split()[1:5] == ["4", "1", "0", "7"]
        assert f"1 failed: the device is gone (see {run.images}/*.failed)" in said and "the same commands" in said


def test_seeds_asked_for_by_number_are_counted_beside_the_first_so_many(tmp_path: Path) -> None:
    run = recorded(tmp_path)  # four prompts, seed 0 of each
    for asked, seeds in (([1, 2, 3, 4], 5), ([2, 9], 6), (3, 6), (10, 10), ([3, 11], 11)):
        progress.ask(run, asked)
        found = status.status(run)
        assert (found.wanted, found.recorded, found.missing) == (4 * seeds, 4, 4 * seeds - 4)


def test_an_image_that_is_packed_has_not_failed(tmp_path: Path) -> None:
    """A worker that began before another one recorded the image, which was packed meanwhile."""
    run = recorded(tmp_path)
    pack(run)
    progress.fail(run, ImageId(1, 0), "too bad")
    assert progress.failures(run) == {}
    assert (status.status(run).failed, status.status(run).missing) == (0, 0)


def test_status_of_damaged_folders_is_a_message(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    recorded(tmp_path, prompts=2, seeds=2)
    pack(run)
    for path in (run.folder / "records.tar.xz", run.folder / "config.yaml"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        code, said = look(tmp_path)
        assert code == 1 and str(run.folder) in said and "4 of 4 images recorded" in said  # of the other run
        path.write_bytes(whole)
    assert look(tmp_path)[0] == 0


def test_a_folder_without_config_is_skipped_while_empty_and_mentioned_with_images(tmp_path: Path, look: Shown) -> None:
    begun = tmp_path / "runs" / "m-n-r-01234567"
    (begun / "images").mkdir(parents=True)
    code, said = look(tmp_path)
    assert code == 1 and "0 of 0 images recorded in 0 runs" in said and begun.name not in said
    recorded(tmp_path)
    (begun / "env.json").write_text("{}")
    code, said = look(tmp_path)
    assert code == 0 and "4 of 4 images recorded in 1 runs" in said and begun.name not in said
    (begun / "images" / "0000-0.csv").write_bytes(b"somebody's")
    code, said = look(tmp_path)
    assert code == 1 and f"{begun} has images but no config.yaml" in said and "4 of 4" in said


@pytest.mark.parametrize("often", ["0", "-1", "nan", "inf", "soon"])
def test_a_watch_that_makes_no_sense_is_refused(tmp_path: Path, look: Shown, often: str) -> None:
    recorded(tmp_path)
    code, said = look(tmp_path, f"--watch={often}")
    assert code == 2 and "--watch" in said and often in said and "recorded" not in said.split("usage")[0]


def test_a_record_under_a_strange_name_is_no_crash(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    (run.images / "0001-0 (copy).csv").write_bytes((run.images / "0001-0.csv").read_bytes())
    code, said = look(tmp_path)
    assert code == 1 and "0001-0 (copy).csv is not called <prompt id>-<seed>: move it away" in said


def test_a_record_of_no_wanted_image_does_not_stand_for_one(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    (run.images / "0000-0.csv").rename(run.images / "0099-0.csv")
    (run.images / "0001-0-2.csv").write_bytes((run.images / "0001-0.csv").read_bytes())
    code, said = look(tmp_path)
    assert code == 1 and "3 of 4 images recorded" in said


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_record_with_one_other_byte_is_to_be_made_again(tmp_path: Path, look: Shown, place: int) -> None:
    run = recorded(tmp_path)
    path = run.images / "0002-0.csv"
    content = bytearray(path.read_bytes())
    content[place * len(content) // 100] ^= 1
    path.write_bytes(content)
    assert look(tmp_path)[0] == 1
    (missing,) = plan.cell({**run.config}, Share(4, 1), 2, find(tmp_path)[0]).missing.items()
    assert missing == ("cut, to be made again", 1)


@pytest.mark.parametrize("odd", ["folder", "dead link"])
def test_what_is_no_file_in_the_place_of_a_record_is_to_be_made_again(tmp_path: Path, look: Shown, odd: str) -> None:
    run, image = recorded(tmp_path), ImageId(1, 0)
    table, path = run.table(image), run.record(image)
    path.unlink()
    path.mkdir() if odd == "folder" else path.symlink_to("nowhere")
    code, said = look(tmp_path)
    assert code == 1 and "3 of 4 images recorded" in said and run.scan().damaged == {image} and not run.has(image)
    with pytest.raises(UserError, match=f"{image}.csv is cut or edited; give the same command again"):
        run.table(image)
    run.write(image, table.to_dict("records"), {})
    assert run.has(image) and look(tmp_path)[0] == 0 and path.is_file()


def test_a_record_that_is_moved_aside_this_moment_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded(tmp_path)
    there = contents.loose(run.folder)
    run.set_aside(ImageId(1, 0))
    monkeypatch.setattr(contents, "loose", lambda _: there)
    assert {image.prompt for image in run.scan().recorded} == {0, 2, 3} == {image.prompt for image in run.records()}


def test_a_file_that_may_not_be_read_is_a_problem_of_its_run(tmp_path: Path, look: Shown, monkeypatch) -> None:
    def refused(path: Path) -> bytes:  # by a double: whoever is root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    recorded(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refused)
    code, said = look(tmp_path)
    assert code == 1 and "0 of 0 images" in said and "0000-0.csv" in said


def test_a_plan_reads_no_cost_from_damaged_records(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    rng = random.Random(0)
    whole = (run.images / "0000-0.csv").read_bytes()
    (run.folder / "env.json").write_text('{"device": "a device"}')
    for _ in range(200):
        for prompt in range(4):
            content = bytearray(whole)
            for _ in range(rng.randint(1, 5)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            (run.images / f"000{prompt}-0.csv").write_bytes(content[: rng.randrange(len(content) + 1)])
        found = plan.cell({**run.config}, Share(4, 1), 2, find(tmp_path)[0])
        assert found.recorded + found.missing.total() == 4


def test_no_more_run_than_are_missing(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    (run.folder / "workers").mkdir()
    (run.folder / "workers" / "node-1").write_text("8\n")
    _, said = look(tmp_path)
    assert next(line for line in said.splitlines() if line.startswith(run.folder.name)).split()[1:] == [
        "4",
        "0",
        "0",
        "0",
        "0",
    ]


def test_a_run_whose_held_out_rewards_have_not_scored_is_not_complete(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    progress.ask(run, 1, ["blue", "green"])
    code, said = look(tmp_path)
    assert code == 1 and "4 images not yet scored by blue" in said and "4 of 4 images recorded" in said
    names = sorted(run.recorded())
    for reward, images in (("blue", names), ("green", names[:3])):
        scores.add(run, reward, scores.Scores({"weights": {}, "settings": {}}, dict.fromkeys(images, (0.0, 1.0))))
    code, said = look(tmp_path)
    assert code == 1 and "1 images not yet scored by green" in said and "blue" not in said
    line = plan.cell({**run.config}, Share(1, 1), 2, find(tmp_path)[0], ["blue", "green"]).line()
    assert "1 recorded but not yet scored by green" in line
    scores.add(run, "green", scores.Scores({"weights": {}, "settings": {}}, {names[3]: (0.0, 1.0)}))
    assert look(tmp_path)[0] == 0


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
    progress.fail(run, ImageId(19, 999), "too bad")
    began = time.perf_counter()
    code, said = look(tmp_path)
    print(f"20,000 records: {time.perf_counter() - began:.1f} s")  # for who asks (pytest -rA)
    assert code == 1 and "19999 of 20000 images recorded" in said and "1 failed: too bad" in said


def test_a_run_that_goes_on_has_a_bar_a_pace_and_its_last_pictures(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path, prompts=4)
    progress.ask(run, 4)
    said = look(tmp_path)[1]
    assert f"  {'█' * 6}{'▁' * 18} 25 %\n" in said and "an hour" not in said and "last:" not in said
    for name in ("one", "two"):  # 4 images in 120 s and as many in 240 s: 180 an hour, 12 to do
        (run.folder / "workers").mkdir(exist_ok=True)
        (run.folder / "workers" / name).write_text(f"2 4.0 {120 if name == 'one' else 240}\n")
    for prompt, then in ((0, 300), (2, 100), (1, 200)):
        for path in run.pictures(ImageId(prompt, 0)).values():
            path.write_bytes(b"a picture")
            os.utime(path, (then, then))
    run.kept(ImageId(0, 0)).unlink()
    said = look(tmp_path)[1]
    assert "25 %, 180 images an hour, about 4 min left" in said
    last = f"{run.start(ImageId(1, 0))} -> 0001-0.png (gradproj show {run.folder.name} 0001-0)"
    assert f"  last: {last}\n" in said
    for name, content in (("one", "8\n"), ("two", "nonsense")):  # of another version, and damaged
        (run.folder / "workers" / name).write_text(content)
    found = status.status(run)
    assert (found.running, found.pace, found.hours_left) == (8, 0, None)
    progress.fail(run, ImageId(3, 1), "\x1b[31mred\x07")
    said = look(tmp_path)[1]
    assert "1 failed: \\x1b[31mred\\x07" in said and "\x1b" not in said


def test_a_worker_says_its_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image under way counts by its share of steps."""
    clock = itertools.count()
    monkeypatch.setattr(destination.time, "monotonic", lambda: float(next(clock)))
    said = []
    monkeypatch.setattr(progress, "beat", lambda _, *numbers: said.append(numbers))
    fakes.complete(tmp_path, batch=2, steps=5)
    assert [images for images, _, _ in said] == [2] * 12
    assert [done for _, done, _ in said] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0, 2, 2.4, 2.8, 3.2, 3.6, 4.0])
    seconds = [seconds for _, _, seconds in said]
    assert seconds[0] == 0 and all(before < after for before, after in itertools.pairwise(seconds))  # from step 0 on


def test_given_up_is_told_from_failed(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    (run.images / "0001-0.csv").unlink()
    progress.ask(run, 1, max_retries=1)
    for attempts, row, more in ((1, ["3", "1", "0", "0"], True), (2, ["3", "0", "1", "0"], False)):
        progress.fail(run, ImageId(1, 0), "too bad")
        code, said = look(tmp_path)
        assert code == 1 and said.splitlines()[1].split()[1:5] == row, attempts
        assert ("the same commands" in said) == more and ("a greater max_retries" in said) != more
    progress.ask(run, 1, max_retries=2)
    assert "1 failed: too bad" in look(tmp_path)[1]


def test_what_is_no_run_is_told_and_the_rest_is_answered(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    renamed = run.folder.with_name("m-n-r-00000000")
    shutil.copytree(run.folder, renamed)
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    code, said = look(tmp_path)
    assert code == 1 and "4 of 4 images recorded in 1 runs" in said
    assert f"{renamed} is foreign or edited" in said and "notes.txt is no run's folder" in said
    assert plan.cell({**run.config}, Share(4, 1), 2, find(tmp_path)[0]).recorded == 4


def test_records_of_another_run_are_told_and_not_counted(tmp_path: Path, look: Shown) -> None:
    run, other = recorded(tmp_path), recorded(tmp_path, prompts=2)
    (run.images / "0001-0.csv").write_bytes((other.images / "0001-0.csv").read_bytes())
    code, said = look(tmp_path)
    home = other.images / "0001-0.csv"
    whose = f"is the record of image 0001-0 ('p1') of run {other.folder.name}:"
    assert code == 1 and f"{whose} {home} is there already: move this one away" in said
    assert "5 of 6 images recorded" in said
    with pytest.raises(UserError, match=other.folder.name):
        plan.cell({**run.config}, Share(4, 1), 2, find(tmp_path)[0])


def test_a_billion_seeds_are_a_number(tmp_path: Path, look: Shown) -> None:
    run = recorded(tmp_path)
    progress.ask(run, 10**9)
    assert "4 of 4000000000 images recorded" in look(tmp_path)[1]
    found = plan.cell({**run.config}, Share(4, 10**9, 1, 3), 2, find(tmp_path)[0])
    assert found.missing == {"not begun": len(range(1, 4 * 10**9, 3)) - found.recorded}
