"""What goes into the page beside numpy and Pillow on the same records: gaps, grids, thumbnails, the file itself."""

import base64
import dataclasses
import io
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import SCORES
from page_records import PROMPTS, SEEDS, colour, ends, make, several
from PIL import Image as Pillow
from PIL import ImageColor

from gradproj.cli.report import main as cli
from gradproj.errors import UserError
from gradproj.report.choose import Choice, find
from gradproj.report.first_images import first_images
from gradproj.report.gap import gap, held_out
from gradproj.report.load import Curves, curves
from gradproj.report.page import build_page
from gradproj.report.plots import grids, side_by_side
from gradproj.runs.folder import Run

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_waiting: None) -> tuple[Path, dict[str, Run]]:
    results = tmp_path_factory.mktemp("a <b> folder")
    return results, several(results)


def loaded(run: Run) -> Curves:
    found = curves(run)
    assert found is not None
    return found


def test_the_gap_is_the_definition(runs: tuple[Path, dict[str, Run]]) -> None:
    for run in runs[1].values():
        found = loaded(run)
        np.testing.assert_allclose(gap(found, list(found.scores)), ends(run)["gap"], rtol=1e-9)


def test_the_gap_where_numbers_are_missing(runs: tuple[Path, dict[str, Run]]) -> None:
    run = runs[1]["ours"]
    found = loaded(run)
    later = found.scores["dual"].copy()
    later[:, 1:-1] = np.nan  # as of a score given afterwards
    scores = found.scores | {"dual": later, "flat": np.full_like(later, 0.1)}  # the second without a scale
    other = dataclasses.replace(found, scores=scores)
    whole = list(found.scores)
    np.testing.assert_array_equal(gap(other, [*whole, "flat"]), gap(found, whole))
    assert np.isnan(gap(other, [whole[0], "flat"])).all()
    assert np.isnan(gap(found, whole[:1])).all()
    single = dataclasses.replace(found, images=found.images[:1], scores={name: v[:1] for name, v in scores.items()})
    assert np.isnan(gap(single, whole)).all()
    mix = dataclasses.replace(run, config=run.config | {"reward": {"aesthetic": 1.0, "matcher": 1.0}})
    assert held_out(dataclasses.replace(found, run=mix), ["aesthetic+matcher", *SCORES]) == ["dual"]


def test_grids_show_the_largest_gaps(runs: tuple[Path, dict[str, Run]]) -> None:
    names = {path.name for path in (runs[0] / "plots").glob("worst-*")}
    assert names == {
        *(f"worst-shapes-aesthetic-common-{method}.png" for method in ("none", "reno", "ours")),
        "worst-shapes-matcher-common-none.png",
    }
    for method in ("none", "reno", "ours"):
        order = np.argsort(-ends(runs[1][method])["gap"].to_numpy())
        with Pillow.open(runs[0] / "plots" / f"worst-shapes-aesthetic-common-{method}.png") as grid:
            row = next(y for y in range(grid.height) if grid.getpixel((20, y)) == colour("", order[0], "start"))
            for place, image in enumerate(order[:8]):
                x = 20 + place * (grids.SIDE + grids.GUTTER)
                assert grid.getpixel((x, row)) == colour("", image, "start")
                assert grid.getpixel((x, row + grids.SIDE)) == colour(method, image, "kept")


def test_a_grid_has_sixteen_and_needs_all_their_pictures(tmp_path: Path) -> None:
    run = make(tmp_path, "ours", tuple(f"{index}" for index in range(12)))
    order = [ends(run).index[place] for place in np.argsort(-ends(run)["gap"].to_numpy())]
    found = loaded(run)
    assert [str(found.images[image]) for image in grids.worst(found, list(found.scores))] == order[:16]
    (run.images / f"{order[16]}.png").unlink()
    comparisons = find(tmp_path).comparisons
    assert list(grids.files(comparisons)) == ["worst-shapes-aesthetic-common-ours.png"]
    (run.images / f"{order[15]}-start.png").unlink()
    assert not grids.files(comparisons)


def test_same_records_same_bytes(runs: tuple[Path, dict[str, Run]], tmp_path: Path) -> None:
    copy = tmp_path / runs[0].name
    shutil.copytree(runs[0] / "runs", copy / "runs")
    build_page(copy)
    assert (copy / "report.html").read_bytes() == (runs[0] / "report.html").read_bytes()


def pictures(results: Path) -> list[Pillow.Image]:
    """The thumbnails in the page, decoded."""
    text = (results / "report.html").read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="application/json" id="pictures-\d+">(.*?)</script>', text)
    uris = [uri for block in blocks for uri in json.loads(block)]
    return [Pillow.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris]


def test_equal_pictures_are_in_the_page_once(runs: tuple[Path, dict[str, Run]]) -> None:
    found = {picture.convert("RGB").getpixel((0, 0)) for picture in pictures(runs[0])}
    images = range(len(PROMPTS) * SEEDS)
    kept = {colour(method, image, "kept") for method in ("none", "reno", "ours") for image in images}
    assert found == kept | {colour("", image, "start") for image in images}
    assert len(pictures(runs[0])) == len(found)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    make(tmp_path, "ours", ("a ring",), side=700)
    build_page(tmp_path, 100)
    found = pictures(tmp_path)
    assert [picture.size for picture in found] == [(100, 100)] * 4
    expected = [colour("ours", image, kind) for image in (0, 1) for kind in ("start", "kept")]
    for picture, wanted in zip(found, expected, strict=True):
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - wanted).max() <= 6  # WebP's loss


def test_a_cut_picture_is_named(tmp_path: Path) -> None:
    run = make(tmp_path, "ours", ("a ring",))
    path = run.images / "0000-1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"0000-1\.png is cut or no picture.*gradproj replay"):
        build_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_pictures_of_all_methods_stand_below_each_other(runs: tuple[Path, dict[str, Run]]) -> None:
    with Pillow.open(runs[0] / "plots" / "pictures-shapes-aesthetic-common.png") as sheet:
        rows = [("", "start"), *((method, "kept") for method in ("none", "reno", "ours"))]
        expect_rows(sheet, [0, 2, 4, 6, 8, 10], rows)  # the first seed of every prompt
        assert (np.asarray(sheet) == ImageColor.getrgb(side_by_side.WARNING)).all(2).any()


def expect_rows(sheet: Pillow.Image, images: list[int], rows: list[tuple[str, str]]) -> None:
    """A sheet has these rows below each other, each with its pictures of ``images`` from left to right."""
    last = 0
    for method, kind in rows:
        first = colour(method, images[0], kind)
        last = next(y for y in range(last, sheet.height) if sheet.getpixel((side_by_side.GUTTER + 5, y)) == first)
        for column, image in enumerate(images):
            x = side_by_side.GUTTER + 5 + column * (side_by_side.SIDE + side_by_side.GUTTER)
            assert sheet.getpixel((x, last)) == colour(method, image, kind)


def test_the_first_images_are_the_rules(runs: tuple[Path, dict[str, Run]], tmp_path: Path) -> None:
    shutil.copytree(runs[0] / "runs", tmp_path / "runs")
    made = tmp_path / "runs" / runs[1]["reno"].folder.name / "images"
    (made / "0001-0.png").unlink()
    (made / "0004-1-start.png").unlink()
    comparison = find(tmp_path, Choice(["shapes-aesthetic-common"])).comparisons[0]
    names = [str(image) for image in comparison.methods["ours"].images]
    chosen = [names[index] for index in first_images(comparison, 99)]
    by_seed = [f"{prompt:04d}-{seed}" for seed in range(SEEDS) for prompt in range(len(PROMPTS))]
    assert chosen == [name for name in by_seed if name not in ("0001-0", "0004-1")]
    assert [names[index] for index in first_images(comparison, 3)] == chosen[:3]
    assert [names[index] for index in first_images(comparison, 3, whole=False)] == by_seed[:3]


def test_the_readmes_picture_is_drawn_from_records(
    runs: tuple[Path, dict[str, Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, out = str(Path(__file__).parents[1] / "scripts" / "before_after.py"), tmp_path / "drawn.png"
    asked = [script, f"--results={runs[0]}", "--comparison=shapes-aesthetic-common", "--images=4", f"--out={out}"]
    monkeypatch.setattr(sys, "argv", asked)
    runpy.run_path(script, run_name="__main__")
    with Pillow.open(out) as sheet:
        expect_rows(sheet, [0, 2, 4, 6], [("", "start"), ("none", "kept"), ("ours", "kept")])
    monkeypatch.setattr(sys, "argv", [*asked, "--methods", "mine"])
    with pytest.raises(SystemExit, match="has no method mine; --methods takes some of: none, reno, ours"):
        runpy.run_path(script, run_name="__main__")


def test_the_command_says_where_the_page_is_or_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="holds no runs"):
        cli(["--results", str(tmp_path)])
    with pytest.raises(UserError, match="--side is a number of pixels"):
        cli(["--results", str(tmp_path), "--side", "0"])
    make(tmp_path / "mine", "ours", ("a ring",), steps=20)
    assert cli(["--results", str(tmp_path)]) == 0
    assert (tmp_path / "mine" / "report.html").resolve().as_uri() in capsys.readouterr().out
