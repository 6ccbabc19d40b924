"""Records against pandas, tarfile and plain copies of their bytes; every kind of damage must be refused or harmless."""

import errno
import hashlib
import io
import json
import lzma
import os
import random
import re
import tarfile
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import names_of
from PIL import Image as Pillow

from gradproj.errors import UserError
from gradproj.files import place, sealed
from gradproj.runs import progress
from gradproj.runs.contents import PACKED
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, fingerprint
from gradproj.runs.packing import pack, unpack
from gradproj.runs.pictures import open_rgb
from gradproj.runs.record import COLUMNS, unlabelled

SCORES = ("aesthetic", "matcher")
PROMPTS = ["a red ring", "a blue square", *(f"prompt {number}" for number in range(2, 10))]
STEPS = 4
# fmt: off
ODD_STRINGS = (
    "on", "1e-3", "null", "~", "a: b", "# no", " led", "trail ", "tab\t", "q\"'", "\u2028", "é", "🟥", "",
    "2020-01-01", "0x10", "1_000", "[x", "{", "%", "two\nlines", "\x7f", "\ufeff", "long " * 60,
)
# fmt: on


def config(**changes: Any) -> dict[str, Any]:
    return {
        "names": {"model": "m", "method": "n", "reward": "aesthetic"},
        "steps": STEPS,
        "keep": "last",
        "method": {"clip": 0.03, "optimizer": {"lr": 0.02, "betas": [0.9, 0.999]}, "project": True, "none": None},
        "rewards": {score: {"size": 32} for score in SCORES},
        "prompts": PROMPTS,
    } | changes


def rows(seed: int, steps: int = STEPS) -> list[dict[str, float | None]]:
    """Numbers of every size and sign; scores only at the ends; no gradient norm at the last step."""
    rng = random.Random(seed)
    made: list[dict[str, float | None]] = []
    for step in range(steps + 1):
        row: dict[str, float | None] = {name: rng.gauss(0, 1) * 10 ** rng.randint(-12, 12) for name in COLUMNS}
        row |= {"step": step, "skipped": float(step == 1), **{score: rng.random() for score in SCORES}}
        if step == steps:
            row["gradient_norm"] = float("nan")
        elif step:
            row |= dict.fromkeys(SCORES)
        made.append(row)
    return made


def make(folder: Path, images: int = 3, **changes: Any) -> Run:
    run = Run.create(folder, config(**changes), {"written": "first"})
    for image in range(images):
        run.write(ImageId(image, 0), rows(image, run.config["steps"]), {})
    return run


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder``, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, dict | list):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(item, (*path, key))
    else:
        yield path, node


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = deepcopy(node)
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copy


def refuse_writes(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Let ``after`` files reach the disk, then say that it is full."""
    real, calls = os.fsync, iter(range(10**6))

    def fsync(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


# --- the name


def test_fingerprint_is_eight_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}", fingerprint(config()))


def test_whole_numbers_and_floats_of_one_value_have_one_fingerprint() -> None:
    for path, value in leaves(config()):
        if isinstance(value, int) and not isinstance(value, bool):
            assert fingerprint(replaced(config(), path, float(value))) == fingerprint(config())
    assert fingerprint({"a": (1, [2.0])}) == fingerprint({"a": [1.0, (2,)]})


def test_key_order_does_not_change_the_fingerprint() -> None:
    def backwards(node: Any) -> Any:
        return {k: backwards(v) for k, v in reversed(node.items())} if isinstance(node, dict) else node

    assert list(backwards(config())) != list(config())
    assert fingerprint(backwards(config())) == fingerprint(config())


def test_list_order_changes_the_fingerprint() -> None:
    assert fingerprint(config(prompts=["x", "y"])) != fingerprint(config(prompts=["y", "x"]))


def test_every_changed_leaf_changes_the_fingerprint() -> None:
    variants = [config()]
    for path, value in leaves(config()):
        others = ["other", 17, 0.5, True, False, None, "1", [], {}, [value], {"value": value}, f"{value}", f"{value} "]
        if isinstance(value, float):
            others += [np.nextafter(value, 1).item(), -value]
        variants += [replaced(config(), path, other) for other in others]
    different = {json.dumps(variant) for variant in variants}
    assert len(different) > 150
    assert len({fingerprint(variant) for variant in variants}) == len(different)


def test_a_key_added_or_removed_changes_the_fingerprint() -> None:
    smaller = config()
    del smaller["keep"]
    assert len({fingerprint(smaller), fingerprint(config()), fingerprint(config(more=None))}) == 3


@pytest.mark.parametrize("seed", range(20))
def test_the_fingerprint_outlives_yaml_and_json(seed: int) -> None:
    rng = random.Random(seed)

    def draw(depth: int) -> Any:
        if depth and rng.random() < 0.6:
            items = [draw(depth - 1) for _ in range(rng.randrange(4))]
            return items if rng.random() < 0.5 else {rng.choice(ODD_STRINGS) + str(i): x for i, x in enumerate(items)}
        number = rng.gauss(0, 1) * 10.0 ** rng.randint(-30, 30)
        return rng.choice(
            [rng.choice(ODD_STRINGS), number, rng.randint(-(10**9), 10**9), True, False, None, 1e16, 1e-5]
        )

    drawn = {"everything": [draw(4) for _ in range(10)], "strings": list(ODD_STRINGS)}
    written = yaml.safe_dump(drawn, sort_keys=False, allow_unicode=True)
    assert fingerprint(yaml.safe_load(written)) == fingerprint(drawn)
    assert fingerprint(json.loads(json.dumps(drawn))) == fingerprint(drawn)


# --- the folder


def test_a_created_run_is_named_after_its_parts_and_opens_to_what_was_given(tmp_path: Path) -> None:
    given = config(prompts=list(ODD_STRINGS))
    run = Run.create(tmp_path, given, {"device": "none"})
    assert run.folder == tmp_path / "runs" / f"m-n-aesthetic-{fingerprint(given)}"
    assert Run.open(run.folder).config == given
    assert yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8")) == given
    assert json.loads((run.folder / "env.json").read_text()) == {"device": "none"}
    assert names_of(run) == set()


def test_a_prompt_with_a_next_line_character_can_be_opened_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path, config(prompts=["a\x85b"]), {})
    assert Run.open(run.folder).config == run.config


def test_going_on_never_rewrites_config_and_environment(tmp_path: Path) -> None:
    first = make(tmp_path)
    before = bytes_of(first.folder), {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir() if p.is_file()}
    again = Run.create(tmp_path, config(), {"written": "second"})
    after = bytes_of(again.folder), {p.name: p.stat().st_mtime_ns for p in again.folder.iterdir() if p.is_file()}
    assert again.folder == first.folder
    assert after == before
    assert names_of(again) == {"0000-0", "0001-0", "0002-0"}


def test_every_edited_leaf_of_config_yaml_makes_the_run_foreign(tmp_path: Path) -> None:
    run = make(tmp_path)
    file = run.folder / "config.yaml"
    for path, _ in leaves(config()):
        file.write_text(yaml.safe_dump(replaced(config(), path, "edited"), sort_keys=False))
        for attempt in (lambda: Run.open(run.folder), lambda: Run.create(tmp_path, config(), {})):
            with pytest.raises(UserError, match="foreign or edited") as error:
                attempt()
            assert str(run.folder) in str(error.value)
        assert yaml.safe_load(file.read_text()) != config()  # not "repaired" either


def test_config_yaml_laid_out_otherwise_is_still_the_same_run(tmp_path: Path) -> None:
    run = make(tmp_path)
    (run.folder / "config.yaml").write_text("# a comment\n" + json.dumps(config(), indent=4))
    assert Run.open(run.folder).config == config()


@pytest.mark.parametrize("content", [None, b"", b"a: [", b"\xff\xfe", b"steps: 3\n", b"- 1\n", b"just words"])
def test_a_config_yaml_missing_or_damaged_is_refused_with_the_folder_named(
    tmp_path: Path, content: bytes | None
) -> None:
    run = make(tmp_path)
    file = run.folder / "config.yaml"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(run.folder))):
        Run.open(run.folder)


@pytest.mark.parametrize("place_of_file", ["results", "results/runs"])
def test_a_file_where_the_results_should_go_is_said(tmp_path: Path, place_of_file: str) -> None:
    in_the_way = tmp_path / place_of_file
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*results=PATH") as error:
        Run.create(tmp_path / "results", config(), {})
    assert str(tmp_path / "results") in str(error.value)
    assert in_the_way.read_text() == "mine"


# --- one record


def test_pandas_reads_back_what_was_written_to_six_digits(tmp_path: Path) -> None:
    run = make(tmp_path)
    for image in range(3):
        frame: Any = pd.read_csv(run.record(ImageId(image, 0)), comment="#")
        assert list(frame.columns) == [*COLUMNS, *SCORES]
        given = pd.DataFrame(rows(image)).astype(float)[list(frame.columns)]
        np.testing.assert_allclose(frame.to_numpy(float), given.to_numpy(), rtol=5.0001e-6, atol=0, equal_nan=True)


def test_what_is_written_passes_its_check_and_comes_back_without_its_seal(tmp_path: Path) -> None:
    run = make(tmp_path)
    for image, csv in Run.open(run.folder).records().items():
        first, _, rest = run.record(image).read_bytes().partition(b"\n")
        label = {"run": run.folder.name, "image": str(image), "prompt": PROMPTS[image.prompt], "pictures": {}}
        assert json.loads(first.removeprefix(b"# ")) == label
        assert rest.startswith(csv) and csv.count(b"\n") == STEPS + 2
        assert rest[len(csv) :] == b"# sha256 " + hashlib.sha256(first + b"\n" + csv).hexdigest().encode() + b"\n"


def test_pictures_are_written_whole_before_the_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path, config(), {})
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    order: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    run.write(ImageId(3, 7), rows(0), {"start": Pillow.fromarray(pixels[0]), "kept": Pillow.fromarray(pixels[1])})
    for name, expected in zip(("0003-7-start", "0003-7"), pixels, strict=True):
        with Pillow.open(run.images / f"{name}.png") as picture:
            assert np.array_equal(np.asarray(picture), expected)
    assert [".csv." in name for name in order] == [False, False, True]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, bytes, bytes]:
    """A run, one of its records as on disk, and its text."""
    run = make(tmp_path_factory.mktemp("results"), images=1)
    content = (run.images / "0000-0.csv").read_bytes()
    return run, content, run.records()[ImageId(0, 0)]


def refused_or_unharmed(run: Run, damaged: bytes, text: bytes) -> bool:
    """True if refused with the file named; what still passes must have every byte of its text."""
    opened = unlabelled(damaged)
    assert opened is None or opened[1] == text
    return opened is None


def test_a_record_cut_anywhere_is_refused(written: tuple[Run, bytes, bytes]) -> None:
    run, content, text = written
    refused = [refused_or_unharmed(run, content[:length], text) for length in range(len(content))]
    assert all(refused[:-1])  # without its very last newline it is whole


def test_any_flipped_bit_is_refused(written: tuple[Run, bytes, bytes]) -> None:
    run, content, text = written
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            assert refused_or_unharmed(run, bytes(damaged), text) or position == len(content) - 1


@pytest.mark.parametrize("seed", range(200))
def test_bytes_lost_doubled_or_swapped_are_refused(written: tuple[Run, bytes, bytes], seed: int) -> None:
    run, content, text = written
    rng = random.Random(seed)
    start, end = sorted(rng.sample(range(len(content)), 2))
    cuts = [content[:start] + content[end:], content[:end] + content[start:], content + content[start:end]]
    for damaged in (*cuts, b"\0" * (end - start), b"", content[end:] + content[:end], content + content):
        assert refused_or_unharmed(run, damaged, text) or damaged.strip() == content.strip()


def test_other_line_ends_are_refused(written: tuple[Run, bytes, bytes]) -> None:
    run, content, text = written
    assert refused_or_unharmed(run, content.replace(b"\n", b"\r\n"), text)


@pytest.mark.parametrize("other", [{"steps": STEPS + 1}, {"steps": STEPS - 1}, {"rewards": {"aesthetic": {}}}])
@pytest.mark.parametrize("other_order", [False, True])
def test_a_record_of_a_run_with_other_steps_or_columns_is_refused(
    tmp_path: Path, other: dict[str, Any], other_order: bool
) -> None:
    if other_order:
        other = other | {"rewards": {"matcher": {}, "aesthetic": {}}}
    run, foreign = make(tmp_path / "own", images=1), make(tmp_path / "foreign", images=1, **other)
    (run.images / "0001-0.csv").write_bytes((foreign.images / "0000-0.csv").read_bytes())
    with pytest.raises(UserError, match=re.escape(str(run.images / "0001-0.csv"))):
        run.records()


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b.replace(b"1", b"2", 1)])
def test_a_damaged_record_on_disk_is_an_error_and_stays_as_it_is(tmp_path: Path, damage: Any) -> None:
    run = make(tmp_path)
    path = run.images / "0001-0.csv"
    path.write_bytes(damage(path.read_bytes()))
    before = bytes_of(tmp_path)
    for attempt in (lambda: pack(run), lambda: run.records()):
        with pytest.raises(UserError, match=re.escape(str(path))):
            attempt()
    assert bytes_of(tmp_path) == before


def test_a_record_of_another_image_run_or_prompt_is_a_stranger_and_never_counted_or_overwritten(tmp_path: Path) -> None:
    """Swapped between seeds, between prompts, between runs; and one that does not say whose it is."""
    run = make(tmp_path, images=2)
    other = make(tmp_path, images=2, keep="best")
    own = [run.record(ImageId(prompt, 0)).read_bytes() for prompt in range(2)]
    cases = {
        "0000-1": (own[0], "is the record of image 0000-0 ('a red ring')"),
        "0001-0": (own[0], "is the record of image 0000-0"),
        "0000-0": (other.record(ImageId(0, 0)).read_bytes(), f"of run {other.folder.name}: move it to {other.images}"),
        "0007-0": (sealed(own[0].split(b"\n", 1)[1].rpartition(b"# sha256 ")[0]), "does not say whose record it is"),
    }
    for name, (content, why) in cases.items():
        path = run.images / f"{name}.csv"
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        image = ImageId.parse(name)
        found = run.scan()
        assert image not in found.recorded and not found.damaged and not run.has(image)
        assert len(found.strangers) == 1 and str(path) in found.strangers[0] and why in found.strangers[0]
        attempts = (run.records, lambda: pack(run), partial(run.table, image), partial(run.write, image, rows(1), {}))
        for attempt in attempts:
            with pytest.raises(UserError, match=re.escape(why)):
                attempt()
        assert path.read_bytes() == content
        path.write_bytes(before) if before else path.unlink()
    assert run.recorded() == {ImageId(0, 0), ImageId(1, 0)}


@pytest.mark.parametrize("text", ["3-1", "0003", "0003-1-2", "00003-1", "0003-01", "0003--1", "x", "", "٠٠٠٣-1"])
def test_an_image_has_one_name_and_no_other_text_is_one(text: str) -> None:
    for image in (ImageId(3, 1), ImageId(12345, 10**9)):
        assert ImageId.parse(str(image)) == image
    assert (str(ImageId(3, 1)), str(ImageId(12345, 0))) == ("0003-1", "12345-0")
    with pytest.raises(ValueError, match="0003-1"):
        ImageId.parse(text)


def test_a_swapped_picture_is_not_the_recorded_one(tmp_path: Path) -> None:
    run = make(tmp_path, images=0)
    for prompt in range(2):
        pair = [Pillow.new("RGB", (2, 2), (colour + prompt, 0, 0)) for colour in (10, 20)]
        run.write(ImageId(prompt, 0), rows(prompt), dict(zip(("start", "kept"), pair, strict=True)))
    for image, hashes in run.scan().recorded.items():
        for kind, path in run.pictures(image).items():
            assert open_rgb(path, hashes[kind]).size == (2, 2)
            with pytest.raises(UserError, match="not the picture that was recorded"):
                open_rgb(run.pictures(ImageId(1 - image.prompt, 0))[kind], hashes[kind])


def test_leftovers_of_a_killed_writer_are_no_records(tmp_path: Path) -> None:
    run = make(tmp_path)
    whole = (run.images / "0000-0.csv").read_bytes()
    (run.images / ".0007-0.csv.123.part").write_bytes(whole)
    (run.images / ".0000-0.csv.124.part").write_bytes(whole[:50])
    (run.images / ".0008-0-start.png.9.part").write_bytes(b"")
    (run.folder / ".config.yaml.9.part").write_bytes(b"")
    assert names_of(Run.open(run.folder)) == {"0000-0", "0001-0", "0002-0"}
    assert pack(run) == 3


def test_a_failure_leaves_its_reason_and_a_later_success_removes_it(tmp_path: Path) -> None:
    run = make(tmp_path, images=1)
    progress.fail(run, ImageId(5, 1), "too bad")
    assert (run.images / "0005-1.failed").read_text() == "too bad\n"
    assert names_of(run) == {"0000-0"}
    run.write(ImageId(5, 1), rows(9), {})
    assert names_of(run) == {"0000-0", "0005-1"}
    assert not list(run.images.glob("*.failed"))


# --- a full disk


def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_bytes(b"old")
    refuse_writes(monkeypatch)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space"):
            place(tmp_path / name, b"x" * 1000)
    assert bytes_of(tmp_path) == {"old": b"old"}


@pytest.mark.parametrize("after", range(3))
def test_a_record_whose_pictures_or_csv_find_no_room_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run = make(tmp_path)
    picture = Pillow.new("RGB", (4, 4))
    with monkeypatch.context() as patch:
        refuse_writes(patch, after)
        with pytest.raises(OSError, match="No space"):
            run.write(ImageId(9, 0), rows(9), {"start": picture, "kept": picture})
    assert names_of(run) == {"0000-0", "0001-0", "0002-0"}
    assert not list(tmp_path.rglob("*.part"))
    run.write(ImageId(9, 0), rows(9), {"start": picture, "kept": picture})
    assert "0009-0" in names_of(run)


def test_packing_onto_a_full_disk_keeps_the_loose_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path)
    before = bytes_of(tmp_path)
    refuse_writes(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        pack(run)
    assert bytes_of(tmp_path) == before


def test_a_full_disk_at_the_start_is_said_and_leaves_no_half_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch)
    with pytest.raises(UserError, match=r"No space left.*results=PATH"):
        Run.create(tmp_path, config(), {})
    assert bytes_of(tmp_path) == {}


# --- packed


def test_unpacking_gives_back_every_byte(tmp_path: Path) -> None:
    run = make(tmp_path)
    before, records = bytes_of(tmp_path), run.records()
    assert pack(run) == 3
    assert not list(run.images.glob("*.csv"))
    assert Run.open(run.folder).records() == records
    assert unpack(run) == 3
    assert bytes_of(tmp_path) == before


def test_any_tar_can_read_the_archive(tmp_path: Path) -> None:
    run = make(tmp_path)
    before = bytes_of(run.images)
    pack(run)
    with tarfile.open(run.folder / PACKED, "r:xz") as archive:
        archive.extractall(tmp_path / "elsewhere", filter="data")
    assert bytes_of(tmp_path / "elsewhere" / "images") == before


def test_the_same_records_give_the_same_archive(tmp_path: Path) -> None:
    first, second = make(tmp_path / "1"), Run.create(tmp_path / "2", config(), {"other": 1})
    for image in (2, 0, 1):
        second.write(ImageId(image, 0), rows(image), {})
        os.utime(second.record(ImageId(image, 0)), (1e9 + image, 1e9))
    pack(first)
    pack(second)
    packed = (first.folder / PACKED).read_bytes()
    assert (second.folder / PACKED).read_bytes() == packed
    assert pack(first) == 3  # again, now from the archive
    assert (first.folder / PACKED).read_bytes() == packed


def test_new_records_join_an_archive_as_if_packed_at_once(tmp_path: Path) -> None:
    grown, at_once = make(tmp_path / "grown", images=1), make(tmp_path / "at_once", images=3)
    everything = bytes_of(at_once.images)
    for image in (2, 1):
        pack(grown)
        grown.write(ImageId(image, 0), rows(image), {})
        assert len(names_of(grown)) == 4 - image
    assert pack(grown) == pack(at_once) == 3
    assert (grown.folder / PACKED).read_bytes() == (at_once.folder / PACKED).read_bytes()
    assert unpack(grown) == 3
    assert bytes_of(grown.images) == everything


def test_twins_loose_and_packed_that_differ_are_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    loose = (run.images / "0001-0.csv").read_bytes()
    pack(run)
    (run.images / "0001-0.csv").write_bytes(loose)
    assert "0001-0" in names_of(run)  # equal twins are what a kill during pack leaves
    (run.images / "0001-0.csv").write_bytes(loose.replace(b"1", b"2", 1))
    before = bytes_of(tmp_path)
    for attempt in (lambda: run.records(), lambda: pack(run), lambda: unpack(run)):
        with pytest.raises(UserError, match="0001-0") as error:
            attempt()
        assert str(run.folder) in str(error.value)
    assert bytes_of(tmp_path) == before


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_damaged_record_in_a_sound_archive_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    members = {f"images/{name}": content for name, content in bytes_of(run.images).items()}
    pack(run)
    for bad in (members["images/0001-0.csv"].replace(b"1", b"2", 1), members["images/0001-0.csv"][:-20], b""):
        (run.folder / PACKED).write_bytes(archive(members | {"images/0001-0.csv": bad}))
        with pytest.raises(UserError, match="0001-0"):
            run.records()


def test_an_archive_with_a_damaged_header_inside_is_refused_not_read_short(tmp_path: Path) -> None:
    run = make(tmp_path)
    records = run.records()
    pack(run)
    content = bytearray(lzma.decompress((run.folder / PACKED).read_bytes()))
    second = content.index(b"images/0001-0.csv")
    content[second] ^= 1
    damaged_archive(run, lzma.compress(content), records)


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    records = run.records()
    pack(run)
    content = (run.folder / PACKED).read_bytes()
    for length in {*range(0, len(content), 7), 0, 1, len(content) - 1}:
        damaged_archive(run, content[:length], records)


def test_an_archive_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    records = run.records()
    pack(run)
    content = (run.folder / PACKED).read_bytes()
    rng = random.Random(0)
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        damaged_archive(run, bytes(damaged), records)


def damaged_archive(run: Run, content: bytes, records: dict[ImageId, bytes]) -> None:
    """Refused with a word for the person, or (damage beyond the last record) nothing is lost."""
    (run.folder / PACKED).write_bytes(content)
    try:
        assert run.records() == records
    except UserError as error:
        assert str(run.folder) in str(error)
