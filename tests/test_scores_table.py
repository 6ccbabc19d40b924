"""Scores given afterwards in the table, the plots and the summary."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scored
from made_up import SCORES, SEEDS, STEPS, trajectory
from scored import PROMPTS, refusal, write
from test_report import prompt_interval, row, table

from gradproj.execution.compose import compose_reward
from gradproj.execution.rescore import rescore
from gradproj.report import build, summary
from gradproj.report.compare import compare
from gradproj.report.load import load
from gradproj.report.plots import pareto
from gradproj.runs import scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack
from gradproj.runs.scores import Scores

script = scored.script


def give(run: Run, reward: str, values: Any, weights: str = "1", **settings: Any) -> dict[ImageId, tuple[float, float]]:
    """Add ``values`` (start, kept per image, in order of name), as ``config`` of made_up would name the reward."""
    checkpoint = {"weights": {"weights.safetensors": f"{reward} {weights}"}, "settings": {"size": 32} | settings}
    pairs = {image: (float(a), float(b)) for image, (a, b) in zip(sorted(run.recorded(), key=str), values, strict=True)}
    scores.add(run, reward, Scores(checkpoint, pairs))
    return pairs


def later(method: str) -> Any:
    """(images, 2): one start for all methods."""
    start = np.random.default_rng(3).normal(20, 1, PROMPTS * SEEDS)
    return np.stack([start, start + np.random.default_rng(len(method)).normal(2, 1, PROMPTS * SEEDS)], axis=1)


@pytest.fixture(scope="module")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods with a score given afterwards, one of them packed."""
    results = tmp_path_factory.mktemp("tabled")
    for method in ("ours", "mpgr"):
        run = write(results, method)
        give(run, "later", later(method))
    pack(run)
    build(results)
    return results


@pytest.mark.filterwarnings("error")
def test_the_table_takes_it_in(tabled: Path) -> None:
    build(tabled)  # without a warning
    lines = table(tabled)
    frames = {method: later(method) for method in ("ours", "mpgr")}
    for method, values in frames.items():
        last = row(lines, method, STEPS)
        assert last.later == pytest.approx(values[:, 1].mean(), rel=1e-5)
        assert last.later_gain == pytest.approx((values[:, 1] - values[:, 0]).mean(), rel=1e-4)
    assert row(lines, "no opt.", 0).later == pytest.approx(frames["ours"][:, 0].mean(), rel=1e-5)
    gap = frames["ours"][:, 1] - frames["mpgr"][:, 1]
    assert row(lines, "mpgr", STEPS).later_ours_minus == pytest.approx(gap.mean(), rel=1e-4)


def test_its_interval_is_scipys_over_prompts(tabled: Path) -> None:
    import pandas as pd

    values = later("mpgr")
    prompts = np.repeat(np.arange(PROMPTS), SEEDS)
    low, high = prompt_interval(pd.DataFrame({"prompt": prompts, "later": values[:, 1] - values[:, 0]}), "later")
    line = row(table(tabled), "mpgr", STEPS)
    assert line.later_gain_low == pytest.approx(low, abs=0.1 * (high - low))
    assert line.later_gain_high == pytest.approx(high, abs=0.1 * (high - low))


def test_the_row_of_step_60_is_blank_for_it_and_nowhere_stands_nan(tabled: Path) -> None:
    early = row(table(tabled), "mpgr", 60)
    assert np.isnan([value for key, value in early.items() if str(key).startswith("later")]).all()
    assert np.isfinite([early[score] for score in SCORES]).all()
    for path in (tabled / "tables").iterdir():
        assert not re.search(r"\bnan\b", path.read_text(), re.IGNORECASE), path
    lines = (tabled / "tables" / "main.md").read_text().splitlines()
    column = next(line for line in lines if "| later |" in line).split("|").index(" later ")
    cells = {tuple(line.split("|")[1:3]): line.split("|")[column] for line in lines if line.startswith("| ours")}
    assert cells[" ours ", " 60 "].strip() == "" and re.match(r" \**\d\d\.\d\d\** <sub>\[", cells[" ours ", " 80 "])


def test_equal_target_leaves_it_out(tabled: Path) -> None:
    assert not [name for name in table(tabled, "equal_target").columns if "later" in name]
    assert "later" not in (tabled / "tables" / "equal_target.md").read_text()
    assert "matcher" in table(tabled, "equal_target").columns


def test_the_plots_draw_it_as_two_points_a_method(tabled: Path) -> None:
    ((comparison,), problems) = compare(load(tabled)[0])
    assert problems == []
    panels = {panel.get_ylabel(): panel for panel in pareto._figure([comparison]).axes}
    assert list(panels) == ["matcher", "dual", "later"]
    curves = {line.get_label(): line.get_xydata() for line in panels["later"].lines}
    for method in ("ours", "mpgr"):
        drawn = np.asarray(curves[method])
        assert drawn.shape == (2, 2)
        assert drawn[:, 1] == pytest.approx(later(method).mean(0), rel=1e-5)
    assert len(np.asarray({line.get_label(): line.get_xydata() for line in panels["dual"].lines}["ours"])) == 9
    for kind in ("png", "svg"):
        assert (tabled / "plots" / f"pareto-shapes-common.{kind}").stat().st_size > 1000


def test_the_summary_of_a_run_has_it(tabled: Path) -> None:
    for folder in (tabled / "runs").iterdir():
        values = later(folder.name.split("-")[1]).mean(0)
        assert f"| later {values[0]:.4g} -> {values[1]:.4g} |" in summary(folder)


def test_images_without_a_score_are_named_and_the_advice_works(tmp_path: Path, script: Callable[..., Any]) -> None:
    run = write(tmp_path, "ours", 1)
    rescore(run, "shapes_aesthetic", *compose_reward("shapes_aesthetic", []))
    write(tmp_path)
    message = refusal(build, tmp_path)
    assert "6 of 9 images have no score of shapes_aesthetic" in message
    command, verb, *arguments = shlex.split(message.split("finish it: ")[1])
    assert (command, verb) == ("gradproj", "score")
    assert script(*arguments)[:2] == (0, f"{run.folder}: 6 images scored\n")
    assert build(tmp_path)


def test_a_score_that_not_every_method_has_is_left_out(tmp_path: Path) -> None:
    give(write(tmp_path), "later", later("ours"))
    write(tmp_path, "mpgr")
    build(tmp_path)
    assert "later" not in table(tmp_path).columns


@pytest.mark.parametrize("other", [{"weights": "2"}, {"size": 64}, {}])
def test_runs_scored_by_two_checkpoints_under_one_name_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    runs = [write(tmp_path), write(tmp_path, "mpgr")]
    give(runs[0], "later", later("ours"))
    give(runs[1], "later", later("mpgr"), **other)
    if not other:
        assert build(tmp_path)
        return
    message = refusal(build, tmp_path)
    assert "later is another checkpoint or has other settings" in message
    assert all(run.folder.name in message for run in runs) and "move one of the two away" in message


@pytest.mark.parametrize("order", [("ours", "mpgr"), ("mpgr", "ours")])
@pytest.mark.parametrize("other", [{"weights": "2"}, {"size": 64}, {}])
def test_recorded_and_given_afterwards_stand_side_by_side_from_one_checkpoint_only(
    tmp_path: Path, order: tuple[str, str], other: dict[str, Any]
) -> None:
    """Whichever of the two the table takes first."""
    has, gets = order
    write(tmp_path, has)
    fewer = {score: {"size": 32} for score in SCORES[:2]}
    run = write(tmp_path, gets, rewards=fewer)
    pairs = [trajectory(gets, image, STEPS, 2.0) for image in range(PROMPTS * SEEDS)]
    values = [(one[0]["dual"], one[-1]["dual"]) for one in pairs]
    give(run, "dual", values, **other)
    if other:
        assert "dual is another checkpoint or has other settings" in refusal(build, tmp_path)
        return
    build(tmp_path)
    lines = table(tmp_path)
    assert row(lines, gets, STEPS).dual == pytest.approx(np.mean([float(value or 0) for _, value in values]), rel=1e-5)
    assert np.isfinite(row(lines, has, 60).dual) and np.isnan(row(lines, gets, 60).dual)
    assert "nan" not in (tmp_path / "tables" / "main.md").read_text()
    assert "dual" not in table(tmp_path, "equal_target").columns


def test_scores_of_other_start_pictures_are_refused(tmp_path: Path) -> None:
    give(write(tmp_path), "later", later("ours"))
    give(write(tmp_path, "mpgr"), "later", later("mpgr") + 0.1)
    assert "later of image 0000-0 at step 0 is" in refusal(build, tmp_path)
