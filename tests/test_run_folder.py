"""A run's folder opens to what was given, or says why not; a full disk loses nothing."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import yaml
from conftest import names_of
from PIL import Image as Pillow
from small_runs import ODD_STRINGS, bytes_of, config, leaves, make, refuse_writes, replaced, rows

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, fingerprint
from gradproj.runs.packing import pack


def test_a_created_run_is_named_after_its_parts_and_opens_to_what_was_given(tmp_path: Path) -> None:
    given = config(prompts=[*ODD_STRINGS, "a\x85b"])
    run = Run.create(tmp_path, given, {"device": "none"})
    assert run.folder == tmp_path / "runs" / f"m-n-aesthetic-{fingerprint(given)}"
    assert Run.open(run.folder).config == given
    assert yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8")) == given
    assert json.loads((run.folder / "env.json").read_text()) == {"device": "none"}
    assert names_of(run) == set()


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


def test_leftovers_of_a_killed_writer_are_no_records(tmp_path: Path) -> None:
    run = make(tmp_path)
    whole = (run.images / "0000-0.csv").read_bytes()
    (run.images / ".0007-0.csv.123.part").write_bytes(whole)
    (run.images / ".0000-0.csv.124.part").write_bytes(whole[:50])
    (run.images / ".0008-0-start.png.9.part").write_bytes(b"")
    (run.folder / ".config.yaml.9.part").write_bytes(b"")
    assert names_of(Run.open(run.folder)) == {"0000-0", "0001-0", "0002-0"}
    assert pack(run) == 3


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


def test_a_full_disk_loses_nothing_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced, an archive of loose records, and a run that begins."""
    run = make(tmp_path / "old")
    before = bytes_of(tmp_path)
    refuse_writes(monkeypatch)
    for attempt in (partial(place, run.folder / "env.json", b"x" * 1000), partial(pack, run)):
        with pytest.raises(OSError, match="No space"):
            attempt()
    with pytest.raises(UserError, match=r"No space left.*results=PATH"):
        Run.create(tmp_path / "new", config(), {})
    assert bytes_of(tmp_path) == before
