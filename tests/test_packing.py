"""Packed runs against tarfile and the bytes that were there before."""

import io
import lzma
import os
import random
import tarfile
from pathlib import Path

import pytest
from conftest import names_of
from small_runs import bytes_of, config, make, rows

from gradproj.errors import UserError
from gradproj.runs.contents import PACKED
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack, unpack


def test_unpacking_gives_back_every_byte_and_any_tar_reads_the_archive(tmp_path: Path) -> None:
    run = make(tmp_path)
    before, loose, records = bytes_of(run.folder), bytes_of(run.images), run.records()
    assert pack(run) == 3
    assert not list(run.images.glob("*.csv"))
    with tarfile.open(run.folder / PACKED, "r:xz") as file:
        file.extractall(tmp_path / "elsewhere", filter="data")
    assert bytes_of(tmp_path / "elsewhere" / "images") == loose
    assert Run.open(run.folder).records() == records
    assert unpack(run) == 3
    assert bytes_of(run.folder) == before


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


def test_a_damaged_archive_is_refused_not_read_short(tmp_path: Path) -> None:
    """Cut, a flipped bit, a damaged header inside: refused with the folder named, or nothing is lost."""
    run = make(tmp_path)
    records = run.records()
    pack(run)
    path = run.folder / PACKED
    content = path.read_bytes()
    inside = bytearray(lzma.decompress(content))
    inside[inside.index(b"images/0001-0.csv")] ^= 1
    damaged = [lzma.compress(inside), *(content[:length] for length in {*range(0, len(content), 29), len(content) - 1})]
    rng = random.Random(0)
    for position in range(0, len(content), 19):
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    refused = 0
    for other in damaged:
        path.write_bytes(other)
        try:
            assert run.records() == records
        except UserError as error:
            assert str(run.folder) in str(error)
            refused += 1
    assert refused > 0.9 * len(damaged)
