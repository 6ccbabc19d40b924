"""Scores given afterwards in the table, the plots and the summary."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scored
from made_up import SCORES, SEEDS, STEPS, prompt_interval, row, table, trajectory
from scored import PROMPTS, refusal, write

from gradproj.execution.rescore import rescore
from gradproj.execution.settings.compose import compose_reward
from gradproj.report import summary
from gradproj.report.build import build
from gradproj.report.choose import Choice, find
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
    assert row(lines, "start", 0).later == pytest.approx(frames["ours"][:, 0].mean(), rel=1e-5)
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
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    column = cells[0].index("later")
    later_of = {tuple(row[:2]): row[column] for row in cells}
    assert later_of["ours", "60"] == "" and re.match(r"\**\d\d\.\d\d\** <sub>\[", later_of["ours", "80"])


def test_equal_target_leaves_it_out(tabled: Path) -> None:
    assert not [name for name in table(tabled, "equal_target").columns if "later" in name]
    assert "later" not in (tabled / "tables" / "equal_target.md").read_text()
    assert "matcher" in table(tabled, "equal_target").columns


def test_the_plots_draw_it_as_two_points_a_method(tabled: Path) -> None:
    (comparison,) = find(tabled).comparisons
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
    (line,) = build(tmp_path).left_out
    assert "6 of 9 images have no score of it as yet" in line and "shapes_aesthetic" not in table(tmp_path).columns
    assert refusal(build, tmp_path, Choice(strict=True)).splitlines()[1:] == [line]
    command, verb, *arguments = shlex.split(line.split("finish it: ")[1])
    assert (command, verb) == ("gradproj", "score")
    assert script(*arguments)[:2] == (0, f"{run.folder}: 6 images scored\n")
    assert build(tmp_path).left_out == [] and "shapes_aesthetic" in table(tmp_path).columns


def test_a_score_that_not_every_method_has_is_blank_there(tmp_path: Path) -> None:
    give(write(tmp_path), "later", later("ours"))
    write(tmp_path, "mpgr")
    build(tmp_path)
    lines = table(tmp_path)
    assert row(lines, "ours", STEPS).later == pytest.approx(later("ours")[:, 1].mean(), rel=1e-5)
    assert np.isnan(row(lines, "mpgr", STEPS).later) and np.isfinite(row(lines, "start", 0).later)
    assert "later" not in set(table(tmp_path, "significance").score)


def test_two_weights_under_one_name_are_refused_two_settings_are_two_columns(tmp_path: Path) -> None:
    others: dict[str, dict[str, Any]] = {"same": {}, "settings": {"size": 64}, "weights": {"weights": "2"}}
    for folder, other in others.items():
        runs = [write(tmp_path / folder), write(tmp_path / folder, "mpgr")]
        give(runs[0], "later", later("ours"))
        give(runs[1], "later", later("mpgr"), **other)
    build(tmp_path / "same")
    assert np.isfinite(row(table(tmp_path / "same"), "mpgr", STEPS).later_ours_minus)
    build(tmp_path / "settings")
    lines = table(tmp_path / "settings")
    for method, size in (("ours", 32), ("mpgr", 64)):
        mean = later(method)[:, 1].mean()
        assert row(lines, method, STEPS)[f"later (size={size})"] == pytest.approx(mean, rel=1e-5)
        assert np.isnan(row(lines, method, STEPS)[f"later (size={96 - size})"])
    message = refusal(build, tmp_path / "weights")
    names = [folder.name for folder in (tmp_path / "weights" / "runs").iterdir()]
    assert "later has other weights" in message and all(name in message for name in names)


@pytest.mark.parametrize("order", [("ours", "mpgr"), ("mpgr", "ours")])
@pytest.mark.parametrize("other", [{"weights": "2"}, {}])
def test_recorded_and_given_afterwards_stand_side_by_side_from_one_checkpoint_only(
    tmp_path: Path, order: tuple[str, str], other: dict[str, Any]
) -> None:
    """Whichever of the two the table takes first."""
    has, gets = order
    write(tmp_path, has)
    fewer = {score: {"size": 32} for score in SCORES[:2]}
    run = write(tmp_path, gets, rewards=fewer)
    pairs = [trajectory(gets, image, STEPS, 2.0) for image in range(PROMPTS * SEEDS)]
    values = [(rows[0]["dual"], rows[-1]["dual"]) for rows in pairs]
    give(run, "dual", values, **other)
    if other:
        assert "dual has other weights" in refusal(build, tmp_path)
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
