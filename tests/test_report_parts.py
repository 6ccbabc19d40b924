"""The report's single tables and their writer against scipy, brute force and plain pandas on the same records."""

import io
import re
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIGS
from made_up import PROMPTS, SCORES, SEEDS, STEPS, frame, make, rewrite, table
from scipy import stats

from gradproj.report import paper
from gradproj.report.build import build
from gradproj.report.choose import find
from gradproj.report.curve import area
from gradproj.report.plots import drawing, pareto
from gradproj.report.table import Column, Table
from gradproj.report.tables.significance import holm, paired
from gradproj.report.writing import csv, latex, markdown, terminal
from gradproj.runs.folder import Run

pytestmark = pytest.mark.usefixtures("no_waiting")
GAINS = {"ours": 2.0, "mpgr": 1.9, "none": 1.0}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, no_waiting: None) -> tuple[Path, dict[str, Run]]:
    results = tmp_path_factory.mktemp("results")
    runs = {method: make(results, method, gain) for method, gain in GAINS.items()}
    build(results)
    return results, runs


def last(run: Run) -> Any:
    found = frame(run)
    return found[found.step == STEPS].set_index("image").sort_index()


# --- many methods


def test_ours_comes_last_its_other_forms_before_it_and_all_look_different(tmp_path: Path) -> None:
    methods = [path.stem for path in sorted((CONFIGS / "method").glob("*.yaml"))]
    for method in methods:
        make(tmp_path, method, 1.0, steps=10)
    (comparison,) = find(tmp_path).comparisons
    labels = list(comparison.methods)
    assert sorted(labels) == methods and labels[-3:] == ["ours_gradient", "ours_latent", "ours"]
    looks = drawing.looks(labels)
    assert all(len(set(kinds)) == len(labels) for kinds in zip(*looks.values(), strict=True))
    assert set(drawing.looks([*labels, "ours (block=8)", "mine"])) == {*labels, "ours (block=8)", "mine"}


# --- paired tests


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("other", ["mpgr", "none"])
def test_paired_tests_are_scipys_on_the_records(built: tuple[Path, dict[str, Run]], other: str, score: str) -> None:
    results, runs = built
    lines = table(results, "significance")
    line = lines[(lines.score == score) & (lines.against == other)].iloc[0]
    ours, theirs = last(runs["ours"]), last(runs[other])
    apart = (ours[score] - theirs[score]).groupby(ours.prompt).mean()
    assert line.n == PROMPTS * SEEDS and line.prompts == PROMPTS
    assert line.ours_minus == pytest.approx(apart.mean(), rel=1e-4)
    assert (line.won, line.lost) == ((apart > 0).sum(), (apart < 0).sum())
    sign: Any = stats.binomtest(int(line.won), PROMPTS)
    assert line.sign_p == pytest.approx(sign.pvalue, rel=1e-4)
    rank: Any = stats.wilcoxon(apart)
    assert line.wilcoxon_p == pytest.approx(rank.pvalue, rel=1e-4)


def test_the_correction_is_over_the_methods_of_one_score(built: tuple[Path, dict[str, Run]]) -> None:
    for _, lines in table(built[0], "significance").groupby("score"):
        assert len(lines) == 2
        low, high = sorted(lines.wilcoxon_p)
        expected = sorted([min(1, 2 * low), max(high, min(1, 2 * low))])
        assert sorted(lines.wilcoxon_p_holm) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.6], [0.02], [0.01, 0.01, 0.01], [0.3, 0.0, 1.0]])
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    """Holm's p of a hypothesis is the largest Bonferroni p of any set of hypotheses that holds it."""
    sets = [some for size in range(1, len(p) + 1) for some in combinations(range(len(p)), size)]
    expected = [
        max(min(1, len(some) * min(p[i] for i in some)) for some in sets if place in some) for place in range(len(p))
    ]
    assert holm(p) == pytest.approx(expected)


def test_tests_of_one_prompt_and_of_equal_records() -> None:
    assert all(np.isnan(value) for key, value in paired(np.array([1.0])).items() if key.endswith("_p"))
    assert paired(np.zeros(8)) == {"prompts": 8, "won": 0, "lost": 0, "sign_p": 1.0, "wilcoxon_p": 1.0}
    assert np.isnan(holm([0.01, np.nan, 0.02])[1]) and holm([0.01, np.nan, 0.02])[0] == pytest.approx(0.02)


# --- dominated area


def test_area_is_that_of_the_union_of_rectangles() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 12))
    corner = (-0.5, -0.3)
    found = area(x, y, corner)
    for across, up, expected in zip(x, y, found, strict=True):
        xs, ys = np.unique([*across, corner[0]]), np.unique([*up, corner[1]])
        brute = 0.0
        for left, right in pairwise(xs):
            for low, high in pairwise(ys):
                inside = left >= corner[0] and low >= corner[1] and ((across >= right) & (up >= high)).any()
                brute += (right - left) * (high - low) * inside
        assert expected == pytest.approx(brute, abs=1e-12)


def test_areas_are_of_the_curves_of_means(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    lines = table(results, "hypervolume").set_index(["held_out", "method"])
    curves = {method: frame(run).groupby("step")[list(SCORES)].mean() for method, run in runs.items()}
    curves = {method: curve.loc[range(0, STEPS + 1, 10)] for method, curve in curves.items()}
    for score in SCORES[1:]:
        corner = curves["ours"].aesthetic.loc[0], min(curve[score].min() for curve in curves.values())
        box = max(c.aesthetic.max() for c in curves.values()) - corner[0]
        box *= max(c[score].max() for c in curves.values()) - corner[1]
        for method, curve in curves.items():
            covered = float(area(curve.aesthetic.to_numpy(), curve[score].to_numpy(), corner))
            line = lines.loc[(score, method)]
            assert line.area == pytest.approx(covered, rel=1e-4)
            assert line.share == pytest.approx(covered / box, rel=1e-4)
            assert line.share_low < line.share < line.share_high


# --- time to target


def test_time_to_target_is_numpys_interp(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    lines = table(results, "time_to_target").set_index("against")
    steps = np.arange(0, STEPS + 1, 10)
    means = frame(runs["ours"]).groupby("step")[["aesthetic", "seconds"]].mean().loc[steps]
    rising = means.aesthetic.to_numpy()
    assert (np.diff(rising) > 0).all()  # or interp does not answer the question
    for other in ("mpgr", "none"):
        level = last(runs[other]).aesthetic.mean()
        line = lines.loc[other]
        assert line.level == pytest.approx(level, rel=1e-5)
        step = np.interp(level, rising, steps)
        assert line.ours_step == pytest.approx(step, rel=1e-3)
        assert line.step_share == pytest.approx(step / STEPS, rel=1e-3)
        assert line.ours_between_steps == f"{step // 10 * 10:.0f}-{step // 10 * 10 + 10:.0f}"
        assert line.ours_seconds == pytest.approx(np.interp(step, steps, means.seconds), rel=1e-3)
        assert line.ours_step_low <= step <= line.ours_step_high
    assert lines.loc["none"].ours_step < 0.5 * STEPS


def test_a_level_that_ours_never_reaches(tmp_path: Path) -> None:
    make(tmp_path, "ours", 1.0)
    make(tmp_path, "none", 3.0)
    build(tmp_path)
    line = table(tmp_path, "time_to_target").iloc[0]
    assert np.isnan(line.ours_step) and np.isnan(line.seconds_share) and np.isinf(line.ours_step_high)
    assert "never" in (tmp_path / "tables" / "time_to_target.md").read_text()


def test_nothing_to_set_ours_against(tmp_path: Path) -> None:
    make(tmp_path, "mpgr")
    make(tmp_path, "none")
    build(tmp_path)
    assert not {path.stem for path in (tmp_path / "tables").iterdir()} & {"significance", "time_to_target"}


# --- reward hacking


def test_gaps_are_plain_standardised_gains(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    lines = table(results, "hacking").set_index("method")
    for method, run in runs.items():
        found = frame(run).set_index(["image", "step"])
        gains = {}
        for score in SCORES:
            values = found[score].unstack()
            gains[score] = (values[STEPS] - values[0]) / values[0].std(ddof=0)
        gap = gains["aesthetic"] - (gains["matcher"] + gains["dual"]) / 2
        line = lines.loc[method]
        assert line.gap == pytest.approx(gap.mean(), rel=1e-4)
        assert line.matcher_gain == pytest.approx(gains["matcher"].mean(), rel=1e-4)
        hacked = (gains["aesthetic"] > 0) & (gains["matcher"] + gains["dual"] < 0)
        assert line.hacked == pytest.approx(hacked.mean(), abs=1e-6) and line.hacked > 0.5
        assert line.climbed_minus_official == pytest.approx(0, abs=1e-4)


def test_a_planted_gap_between_climbed_and_official_is_found(tmp_path: Path) -> None:
    run = make(tmp_path)
    for image in run.recorded():  # the float picture is worth more than the saved one
        rewrite(run, image, lambda rows: rows[-1].update(reward=rows[-1]["reward"] + 0.25))
    build(tmp_path)
    assert table(tmp_path, "hacking").climbed_minus_official[0] == pytest.approx(0.25, abs=1e-4)


# --- the latent


def test_latent_statistics_are_the_records_means(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    lines = table(results, "latent").set_index(["method", "step"])
    for method, run in runs.items():
        for step, rows in frame(run).groupby("step"):
            if int(step) % 10 == 0:
                line = lines.loc[(method, int(step))]
                for name in ("latent_rms", "cosine", "flatness", "distance"):
                    assert line[name] == pytest.approx(rows[name].mean(), rel=1e-4)
                    assert line[f"{name}_95"] == pytest.approx(np.quantile(rows[name], 0.95), rel=1e-4)


# --- the paper's numbers


def test_the_papers_rows_stand_beside_ours(tmp_path: Path) -> None:
    rewards = {name: {"size": 32} for name in SCORES}
    changes: dict[str, Any] = {"names": {"model": "flux", "reward": "aesthetic"}, "steps": 200, "score_every": 20}
    for method in ("ours", "mpgr", "none"):
        make(tmp_path, method, rewards=rewards, **(changes | {"names": changes["names"] | {"method": method}}))
    build(tmp_path)
    lines = table(tmp_path, "main").set_index(["method", "steps"])
    assert lines.loc[("ours", 200)].aesthetic_paper == 8.91 and lines.loc[("ours", 60)].aesthetic_paper == 7.12
    assert lines.loc[("mpgr", 200)].seconds_per_image_paper == 235.5
    assert lines.loc[("start", 0)].aesthetic_paper == 5.99
    apart = lines.aesthetic - lines.aesthetic_paper
    np.testing.assert_allclose(lines.aesthetic_minus_paper, apart, rtol=1e-4, atol=1e-5)
    assert np.isnan(lines.loc[("none", 200)].aesthetic_paper)
    assert not [name for name in lines.columns if "dual_paper" in name]  # a score the paper does not have
    text = (tmp_path / "tables" / "main.md").read_text()
    assert "aesthetic paper" in text and "minus paper" in text and "8.910" in text and paper.NOTE in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "aesthetic paper" in (tmp_path / "tables" / "main.tex").read_text()
    times = table(tmp_path, "time_to_target").set_index("against")
    assert times.loc["mpgr"].seconds_share_paper == pytest.approx(0.296, abs=1e-3)
    assert "30%" in (tmp_path / "tables" / "time_to_target.md").read_text()


def test_no_paper_column_where_it_has_no_such_row(built: tuple[Path, dict[str, Run]]) -> None:
    assert "minus paper" not in (built[0] / "tables" / "main.md").read_text()
    assert not [name for name in table(built[0], "main").columns if "paper" in name]


# --- the Pareto figure


def test_one_figure_for_all_targets_of_a_model(tmp_path: Path) -> None:
    for target in SCORES:
        make(tmp_path, reward=target)
        make(tmp_path, "none", reward=target)
    make(tmp_path, protocol="native")
    build(tmp_path)
    found = sorted(path.name for path in (tmp_path / "plots").glob("pareto*.png"))
    assert found == ["pareto-shapes-common.png", "pareto-shapes-native.png"]


def test_a_mix_has_a_panel_for_what_is_held_out_and_for_none_of_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, reward="aesthetic")
    make(tmp_path, reward={"aesthetic": 1.0, "matcher": 5.0})
    comparisons = build(tmp_path).comparisons
    figures: list[Any] = []
    monkeypatch.setattr(drawing, "pictures", lambda name, draw: figures.append(draw()) or {name: b""})
    pareto.files(comparisons)
    (figure,) = figures
    drawn = [(panel.get_xlabel(), panel.get_ylabel()) for panel in figure.axes]
    mix = "aesthetic +\n5*matcher (target)"
    assert set(drawn) == {(mix, "dual"), ("aesthetic (target)", "dual"), ("aesthetic (target)", "matcher")}
    only_parts = replace(comparisons[0], scores=[one for one in comparisons[0].scores if one != "dual"])
    assert set(only_parts.scores) == {"aesthetic+5*matcher", "aesthetic", "matcher"} and not pareto.files([only_parts])


# --- what must stay blank


def test_ties_over_seeds_are_no_wins(tmp_path: Path) -> None:
    for method, flip in (("ours", 1), ("none", -1)):
        run = make(tmp_path, method)
        for image in run.recorded():
            value = 0.5 + flip * (0.05, -0.05, 0.0)[image.seed]
            rewrite(run, image, lambda rows, value=value: rows[-1].update(dual=value))
    build(tmp_path)
    line = table(tmp_path, "significance").set_index("score").loc["dual"]
    assert (line.won, line.lost, line.sign_p, line.wilcoxon_p) == (0, 0, 1, 1)


def test_nothing_held_out_means_that_hacking_cannot_be_told(tmp_path: Path) -> None:
    make(tmp_path, rewards={"aesthetic": {"size": 32}})
    build(tmp_path)
    assert table(tmp_path, "hacking").hacked.isna().all()
    assert "0%" not in (tmp_path / "tables" / "hacking.md").read_text()


# --- the writer


NUMBERS = [
    {"method": "none", "score": 9.275, "gain_low": 6.383, "gain_high": 6.7372, "p": 0.5, "hidden": 1.23456789},
    {"method": "our_s (lr=0.1) | <b>", "score": 10.1, "gain_low": -1.0, "gain_high": 2.0, "p": np.nan, "hidden": 2.0},
    {"method": "mpgr", "score": np.nan, "gain_low": np.nan, "gain_high": np.nan, "p": 0.001},
]
COLUMNS = [
    Column("method"),
    Column("score", form=".{digits}f", ends="gain", ends_form="+.{digits}f", competes=lambda row: True),
    Column("p", "p value", ".2g", never="never"),
]
MADE = Table("a_b & c", COLUMNS, NUMBERS, "Note.")


def test_a_column_says_its_form_once_for_all_writers() -> None:
    text = markdown("Title", [MADE, MADE])
    assert text.startswith("# Title\n\nNote.\n\n## a_b & c\n\n|") and text.count("Note.") == 1
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells[0] == ["method", "score", "p value"]
    assert cells[2] == ["none", "9.28 <sub>[+6.38, +6.74]</sub>", "0.5"]
    assert cells[3] == [r"our_s (lr=0.1) \| \<b\>", "**10.10** <sub>[-1.00, +2.00]</sub>", "never"]
    assert cells[4] == ["mpgr", "", "0.001"]
    tex = latex([MADE])
    assert r"none & 9.28 {\scriptsize [+6.38, +6.74]} & 0.5 \\" in tex
    assert r"our\_s (lr=0.1) | <b> & \textbf{10.10} {\scriptsize [-1.00, +2.00]} & never \\" in tex
    for rule in (r"\begin{tabular}{lrr}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert tex.count(rule) == 1
    lines = pd.read_csv(io.StringIO(csv(MADE.rows)))
    assert lines.columns.tolist() == ["method", "score", "gain_low", "gain_high", "p", "hidden"]
    assert lines.hidden.tolist()[:2] == [1.23457, 2.0] and np.isnan(lines.score[2])


def test_nothing_is_best_that_stands_alone() -> None:
    assert "**" not in markdown("Title", [Table("one", COLUMNS, NUMBERS[1:], "Note.")])


def test_digits_are_of_the_rows_that_belong_together() -> None:
    rows = [{"score": score, "gap": gap} for score, gap in (("a", 12.3456), ("a", 0.5), ("b", 0.0123456))]
    text = markdown("Title", [Table("", [Column("score"), Column("gap", form="+.{digits}f", per="score")], rows, "")])
    assert re.findall(r"[+][\d.]+", text) == ["+12.35", "+0.50", "+0.01235"]


def test_the_terminal_gets_what_fits() -> None:
    columns = [Column("method"), *(Column(f"a_long_score_{index}", form=".2f") for index in range(20))]
    label = "ours (method.optimizer.lr=0.05, steps=200, block=16)"
    row = {"method": label} | {f"a_long_score_{index}": index / 7 for index in range(20)}
    text = terminal(Table("", columns, [row], ""))
    assert max(map(len, text.splitlines()[:-1])) <= 100
    shown = re.findall(r"\d\.\d\d", text.partition("(not shown")[0])
    hidden = text.partition("(not shown: ")[2].split(", ")
    assert len(hidden) > 0 and len([number for number in shown if number != "0.05"]) + len(hidden) == 20
    assert "<sub>" not in terminal(MADE) and "**" not in terminal(MADE)


def test_the_best_last_step_is_bold_in_the_main_table(built: tuple[Path, dict[str, Run]]) -> None:
    lines = [line for line in (built[0] / "tables" / "main.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    bold = {line.split("|")[1].strip(): line.count("**") // 2 for line in lines if re.search(r"\| +80 \|", line)}
    assert sum(bold.values()) == 3 and bold["ours"] >= 1  # ours has the target
    assert all("**" not in line for line in lines if re.search(r"\| +60 \|", line))
