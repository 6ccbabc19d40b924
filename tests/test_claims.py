"""scripts/claims.py on the committed records: docs/results.md says what comes out of it."""

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from gradproj.report.choose import find

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # scripts/ is no part of the package

import claims  # noqa: E402  # pyright: ignore[reportMissingImports]

NAMES = {"none": "none", "reno": "ReNO", "prno": "PRNO", "mpgr": "MPGR"}
LEAD = r"step (\d+): ours .*, above (\w+) by .* \[(.*),"
MIX, AESTHETIC, MATCHER = "shapes_aesthetic+5*shapes_matcher", "shapes_aesthetic", "shapes_matcher"


@cache
def told() -> dict[str, str]:
    """What the script prints of each target."""
    return {one.target: "\n".join(claims.lines(one)) for one in find(ROOT / "results" / "miniature").comparisons}


def page() -> str:
    return (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def row(number: int) -> list[str]:
    """The cells of a claim: aesthetic, matcher, mix, verdict."""
    (line,) = [line for line in page().splitlines() if line.startswith(f"| {number} |")]
    return [cell.strip() for cell in line.split("|")[3:-1]]


@pytest.mark.parametrize(("column", "target"), list(enumerate((AESTHETIC, MATCHER, MIX))))
def test_ours_gets_to_the_best_earlier_level_in_as_many_steps_as_the_page_says(column: int, target: str) -> None:
    (step,) = re.findall(r"ours is there at step ([\d.]+)", told()[target])
    assert row(7)[column].startswith(f"{float(step):.0f} %")


def test_every_lead_at_equal_steps_is_clear_but_those_that_the_page_names() -> None:
    """The design calls claim 6 partly where one is not."""
    rows = [(target, *found) for target in told() for found in re.findall(LEAD, told()[target])]
    assert len(rows) == 3 * 2 * 4
    level = {(target, method, step) for target, step, method, low in rows if float(low) <= 0}
    assert level == {(AESTHETIC, "mpgr", "28"), (MIX, "mpgr", "28")}
    assert row(6)[-1].startswith("**holds** for the matcher, **partly** for the other two")
    assert "but for MPGR after 28 steps" in row(6)[-1]


@pytest.mark.parametrize("target", [AESTHETIC, MIX])
def test_the_lead_at_equal_target_is_over_the_method_that_the_page_names(target: str) -> None:
    ((best, level),) = re.findall(r"(\w+) ends at ([\d.]+)", told()[target])
    ((lead, low),) = re.findall(rf"shapes_rendering .*, {best} \+0(\.\d+) \[([+-][\d.]+)", told()[target])
    assert float(low) > 0
    lead = f"{float(lead):.3f}".removeprefix("0")
    said = re.escape(f"{lead} against {NAMES[best]} for the ") + rf"\w+( target)? at {float(level):.2f}"
    assert re.search(said, page()), said


def test_no_block_is_clear_of_16_from_above_and_two_are_from_below() -> None:
    (comparison,) = find(ROOT / "results" / "miniature_ablation_block").comparisons
    found = [re.findall(r"block=(\d+)\), (\w+): .* \[(.*), (.*)\]", line)[0] for line in claims.blocks(comparison)]
    assert len(found) == 6 * 3 and all(float(low) < 0 for _, _, low, _ in found)
    below = {(block, score) for block, score, _, high in found if float(high) < 0}
    assert {score for _, score in below} == {"shapes_rendering"}
    said = " and ".join(sorted((block for block, _ in below), key=int))
    assert f"{said} are clear of it from below on rendering" in row(11)[0]


def test_beside_the_earlier_methods_alone_ours_is_clear_where_the_page_says() -> None:
    clear = set()
    for target, text in told().items():
        for method, judge, more, low in re.findall(r"area over (\w+) alone, (\w+): (\S+) \[(\S+),", text):
            if judge in ("shapes_heldout", "shapes_rendering"):
                assert float(more) > 0
                clear |= {(target, judge, method)} if float(low) > 0 else set()
    everyone = {(target, "shapes_rendering", method) for target in (AESTHETIC, MIX) for method in NAMES}
    assert clear == everyone | {(MIX, "shapes_heldout", "mpgr"), (MATCHER, "shapes_rendering", "none")}
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "clear of MPGR alone, for the mix" in " ".join(page.split())
