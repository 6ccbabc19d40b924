"""Every row of bad_inputs.yaml, typed at the console command: a line that says what is wrong, an exit code, no harm."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import Gradproj
from huggingface_hub import constants

from gradproj.cli.run import run_once
from gradproj.execution import worker
from gradproj.runs.archive import bundle
from gradproj.runs.folder import Run
from gradproj.runs.packing import pack

SMALL = ("prompts=[a red ring,a blue square]", "rewards=[shapes_aesthetic,shapes_matcher]", "steps=2")
SAME = {  # what is typed to go on with the two runs, or to look at them
    "run": f"{shlex.join(SMALL)} method=ours",
    "plan": f"{shlex.join(SMALL)} method=ours",
    "status": "",
    "table": "",
    "report": "",
}
PICTURES = {"score": "shapes_heldout {ours}", "diversity": "{ours}"}


class Row(NamedTuple):
    """One line of the table, for one verb."""

    verb: str
    typed: str
    says: str
    code: int
    prepared: str


def rows() -> Iterator[Any]:
    for section in yaml.safe_load(Path(__file__).with_name("bad_inputs.yaml").read_text(encoding="utf-8")):
        for row in section["rows"]:
            keys: dict[str, Any] = (
                row if isinstance(row, dict) else dict(zip(("typed", "says", "code"), row, strict=False))
            )
            prepared = keys.get("with", section.get("with", ""))
            for verb in section["verbs"]:
                typed = (
                    keys["typed"].replace("{same}", SAME.get(verb, "")).replace("{pictures}", PICTURES.get(verb, ""))
                )
                name = " ".join(filter(None, (verb, keys["typed"], prepared)))
                yield pytest.param(Row(verb, typed, keys["says"], keys.get("code", 2), prepared), id=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs of two images each, and files that are no input for anything."""
    from hydra import compose, initialize_config_dir

    from gradproj.execution.settings.overrides import data_folder

    folder = tmp_path_factory.mktemp("finished")
    for method in ("ours", "none"):
        with initialize_config_dir(str(data_folder("configs")), version_base="1.3"):
            config = compose("config", [*SMALL, f"method={method}", f"results={folder / 'results'}"])
        assert run_once(config, "shapes", method).unfinished is None
    (folder / "file").write_text("mine")
    (folder / "folder").mkdir()
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes("a red é\n".encode("latin-1"))
    (folder / "blank.txt").write_text("a red ring\n\na red cross\n")
    own = folder / "own" / "rewards"
    own.mkdir(parents=True)
    (own / "slip.yaml").write_text("# @package rewards.slip\n_target_: [a\n")
    (own / "unpacked.yaml").write_text("_target_: gradproj.rewards.shapes_matcher.ShapesMatcher\n")
    (own / "ghost.yaml").write_text("# @package rewards.ghost\n_target_: ghost.Ghost\n")
    for name in ("NotANumber", "WrongShape", "Weightless", "Doubling", "DoublingLater"):
        (own / f"{name}.yaml").write_text(f"# @package rewards.{name}\n_target_: liars.{name}\n")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, and in it a pipe that nobody writes to."""
    shutil.copytree(finished, tmp_path / "place")
    os.mkfifo(tmp_path / "place" / "pipe")
    return tmp_path / "place"


def runs(place: Path) -> dict[str, Path]:
    return {path.name.split("-")[1]: path for path in (place / "results" / "runs").iterdir()}


def cut_record(ours: Path, none: Path) -> None:
    path = ours / "images" / "0000-0.csv"
    path.write_bytes(path.read_bytes()[:-10])


def edited_record(ours: Path, none: Path) -> None:
    path = ours / "images" / "0000-0.csv"
    path.write_text(re.sub(r"\n1,", "\n1,9", path.read_text(), count=1))


def record_of_another_image(ours: Path, none: Path) -> None:
    shutil.copy(ours / "images" / "0000-0.csv", ours / "images" / "0001-0.csv")


def renamed_record(ours: Path, none: Path) -> None:
    (ours / "images" / "0000-0.csv").rename(ours / "images" / "0000 (copy).csv")


def record_of_another_run(ours: Path, none: Path) -> None:
    shutil.copy(none / "images" / "0000-0.csv", ours / "images" / "0000-0.csv")


def packed_record_of_another_run(ours: Path, none: Path) -> None:
    record_of_another_run(ours, none)
    (ours / "records.tar.xz").write_bytes(
        bundle((f"images/{one.name}", one.read_bytes()) for one in sorted((ours / "images").glob("*.csv")))
    )
    for one in (ours / "images").glob("*.csv"):
        one.unlink()


def cut_archive(ours: Path, none: Path) -> None:
    pack(Run.open(ours))
    path = ours / "records.tar.xz"
    path.write_bytes(path.read_bytes()[:-50])


def renamed_folder(ours: Path, none: Path) -> None:
    ours.rename(ours.with_name("shapes-ours-shapes_aesthetic-00000000"))


def swapped_pictures(ours: Path, none: Path) -> None:
    one, other = (ours / "images" / f"{name}.png" for name in ("0000-0", "0001-0"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def edited_config(ours: Path, none: Path) -> None:
    path = ours / "config.yaml"
    path.write_text(path.read_text().replace("block: 16", "block: 32"))


def broken_config(ours: Path, none: Path) -> None:
    (ours / "config.yaml").write_text("steps: [1,\n")


def cut_picture(ours: Path, none: Path) -> None:
    path = ours / "images" / "0000-0.png"
    path.write_bytes(path.read_bytes()[:60])


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("row", list(rows()))
def test_it_is_refused_in_a_line_and_nothing_changes(
    row: Row, place: Path, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch
) -> None:
    if row.prepared == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it was read when the hub's client was first imported
        monkeypatch.setenv("HF_HOME", str(place / "folder"))
    elif row.prepared:
        globals()[row.prepared](runs(place)["ours"], runs(place)["none"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(worker, "complete_batches", lambda *_: pytest.fail("it was accepted"))
    before = state(place)
    names = {name: str(path.relative_to(place)) for name, path in runs(place).items()}
    typed = row.typed
    for name, path in names.items():
        typed = typed.replace(f"{{{name}}}", path)
    code, out, err = gradproj(*filter(None, [row.verb]), *shlex.split(typed), folder=place)
    assert code == row.code, err or out
    assert "Traceback" not in err and "Error executing job" not in err
    said = out + err if row.code == 1 else err
    assert re.search(row.says, said, re.DOTALL), said
    assert state(place) == before


def test_a_billion_seeds_are_planned_as_a_number(place: Path, gradproj: Gradproj) -> None:
    before = state(place)
    code, out, err = gradproj("plan", *SMALL, "method=ours,none", "-m", "seeds=1000000000", folder=place)
    assert code == 0, err
    assert "3999999996 images to do in 2 runs" in out
    assert state(place) == before
