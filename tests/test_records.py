"""A record against pandas and plain copies of its bytes; every kind of damage must be refused."""

import hashlib
import json
import os
import random
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from small_runs import PROMPTS, SCORES, STEPS, bytes_of, config, make, rows

from gradproj.errors import UserError
from gradproj.files import sealed
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.owner import Owner
from gradproj.runs.packing import pack
from gradproj.runs.pictures import open_rgb
from gradproj.runs.record import COLUMNS, labelled, table_text, unlabelled


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


def test_any_damage_to_a_record_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, any bit flipped, other line ends, and stretches that are lost, doubled, swapped or zero."""
    run = make(tmp_path, images=1)
    content, text = run.record(ImageId(0, 0)).read_bytes(), run.records()[ImageId(0, 0)]
    assert (unlabelled(content) or ({}, b""))[1] == text
    damaged = [content[:length] for length in range(len(content))] + [content.replace(b"\n", b"\r\n"), content * 2]
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    rng = random.Random(0)
    for _ in range(200):
        start, end = sorted(rng.sample(range(len(content)), 2))
        damaged += [content[:start] + content[end:], content[:end] + content[start:], content + content[start:end]]
        damaged += [b"\0" * (end - start), content[end:] + content[:end]]
    assert not [other for other in damaged if other != content and unlabelled(other) is not None]


def test_a_record_of_other_steps_or_columns_is_refused_though_it_is_sealed(tmp_path: Path) -> None:
    """Also in bulk, where a row too many in one record would make up for a row too few in another."""
    run = make(tmp_path, images=1)
    short, long, swapped = (ImageId(prompt, 0) for prompt in (1, 2, 3))
    run.write(short, rows(1, STEPS - 1), {})
    run.write(long, rows(2, STEPS + 1), {})
    columns = [*run.columns[:-2], *run.columns[:-3:-1]]
    label = Owner(run.folder, PROMPTS).label(swapped)
    run.record(swapped).write_bytes(labelled(label, table_text(columns, rows(3))))
    csvs = run.records()
    for images in ((short,), (long,), (short, long), (swapped,)):
        with pytest.raises(UserError, match="do not read as this run's"):
            run.values([csvs[image] for image in images])


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
        "0000-0": (other.record(ImageId(0, 0)).read_bytes(), f"of run {other.folder.name}: {other.images}"),
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
