"""The main table, equal target and the files as a whole, against plain pandas, scipy's bootstrap and numpy's interp."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GRADPROJ
from made_up import (
    GEOMETRIC,
    PROMPTS,
    SCORES,
    SEEDS,
    STEPS,
    config,
    frame,
    make,
    prompt_interval,
    row,
    table,
    trajectory,
)

from gradproj.report import summary
from gradproj.report.build import build
from gradproj.report.choose import Choice, find
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack, unpack

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, no_waiting: None) -> tuple[Path, dict[str, Run]]:
    results = tmp_path_factory.mktemp("results")
    gains = {"ours": 2.0, "mpgr": 1.2, "none": 1.0}
    runs = {method: make(results, method, gain) for method, gain in gains.items()}
    build(results)
    return results, runs


@pytest.mark.parametrize("method", ["ours", "mpgr", "none"])
@pytest.mark.parametrize("steps", [60, 80])
def test_means_are_those_of_a_plain_groupby(built: tuple[Path, dict[str, Run]], method: str, steps: int) -> None:
    results, runs = built
    means = frame(runs[method]).groupby("step")[["seconds", *SCORES]].mean()
    line, start = row(table(results), method, steps), row(table(results), "start", 0)
    for score in SCORES:
        assert line[score] == pytest.approx(means.loc[steps, score], rel=1e-5)
        assert line[f"{score}_gain"] == pytest.approx(means.loc[steps, score] - means.loc[0, score], abs=1e-4)
        assert start[score] == pytest.approx(means.loc[0, score], rel=1e-5)
    assert line["seconds_per_image"] == pytest.approx(means.loc[steps, "seconds"], rel=1e-5)
    assert (line["n"], line["prompts"]) == (PROMPTS * SEEDS, PROMPTS)


@pytest.mark.parametrize("score", SCORES)
def test_intervals_are_scipys_over_prompts(built: tuple[Path, dict[str, Run]], score: str) -> None:
    results, runs = built
    frames = {method: frame(run).set_index(["prompt", "seed"]) for method, run in runs.items()}
    last = {method: rows[rows.step == 80][list(SCORES)] for method, rows in frames.items()}
    start = frames["ours"][frames["ours"].step == 0][list(SCORES)]
    line = row(table(results), "mpgr", 80)
    for name, change in [("gain", last["mpgr"] - start), ("ours_minus", last["ours"] - last["mpgr"])]:
        low, high = prompt_interval(change, score)
        error = 0.1 * (high - low)  # the ends of 2,000 resamples scatter by about 4 % of the width
        assert line[f"{score}_{name}_low"] == pytest.approx(low, abs=error)
        assert line[f"{score}_{name}_high"] == pytest.approx(high, abs=error)
        assert line[f"{score}_{name}"] == pytest.approx(change[score].mean(), abs=1e-4)


def test_equal_target_is_numpys_interp(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    lines = table(results, "equal_target")
    grid = {method: frame(run).query("step % 10 == 0") for method, run in runs.items()}
    means = {method: rows.groupby("step")[["seconds", *SCORES]].mean() for method, rows in grid.items()}
    top = min(mean["aesthetic"].max() for mean in means.values())
    start = means["ours"].loc[0, "aesthetic"]
    assert len(lines) == 9
    for_level = lines[lines.share == 1].set_index("method").between_steps
    assert for_level["none"] == "80"  # the one whose highest mean is the level, at a scored step
    for _, line in lines.iterrows():
        mean = means[line.method]
        level = start + line.share * (top - start)
        rising = np.maximum.accumulate(mean["aesthetic"])  # its first crossings are the curve's own
        step = np.interp(level, rising, mean.index) if line.share < 1 else line.step
        assert line.level == pytest.approx(level, rel=1e-5)
        assert line.between_steps in (f"{step // 10 * 10:.0f}-{step // 10 * 10 + 10:.0f}", "80")
        assert line.step == pytest.approx(step, abs=1e-3)
        assert np.interp(line.step, mean.index, mean["aesthetic"]) == pytest.approx(level, rel=1e-5)
        assert line.seconds_per_image == pytest.approx(np.interp(step, mean.index, mean["seconds"]), rel=1e-3)
        at = grid[line.method].groupby(["prompt", "image"])
        for score in SCORES[1:]:
            images: Any = at[["step", score]].apply(lambda g, s=step, c=score: np.interp(s, g.step, g[c])).rename(score)
            low, high = prompt_interval(images.reset_index(), score)
            assert line[score] == pytest.approx(images.mean(), rel=1e-4)
            assert line[f"{score}_low"] == pytest.approx(low, abs=0.1 * (high - low))
            assert line[f"{score}_high"] == pytest.approx(high, abs=0.1 * (high - low))


def test_runs_scored_at_other_steps_are_crossed_between_their_own(tmp_path: Path) -> None:
    coarse, fine = make(tmp_path, "none"), make(tmp_path, "ours", score_every="geometric")
    build(tmp_path)
    for _, line in table(tmp_path, "equal_target").iterrows():
        steps = [*range(0, STEPS + 1, 10)] if line.method == "none" else [*GEOMETRIC, STEPS]
        run = coarse if line.method == "none" else fine
        mean = frame(run).groupby("step").aesthetic.mean().loc[steps]
        after = next(index for index, value in enumerate(mean) if value >= line.level * (1 - 1e-6))
        around = f"{steps[after - 1]}-{steps[after]}"
        assert line.between_steps in ((str(steps[after]), around) if line.share == 1 else (around,))
        assert steps[after - 1] < line.step <= steps[after]
    points = table(tmp_path, "hypervolume").groupby("method").scored_steps.unique()
    assert points["none"] == [9] and points["ours"] == [len(GEOMETRIC) + 1]
    assert row(table(tmp_path), "ours", 60).steps == 60  # the paper's step is scored whatever the rule


def test_keep_best_takes_the_row_of_the_highest_reward(tmp_path: Path) -> None:
    run = make(tmp_path / "tenth", keep="best")
    build(tmp_path / "tenth")
    rows = frame(run)
    best = rows.loc[rows.groupby("image").reward.idxmax()]
    assert (best.step != STEPS).any()
    line = row(table(tmp_path / "tenth"), "ours", 80)
    assert [line[score] for score in SCORES] == pytest.approx(best[list(SCORES)].mean().tolist(), rel=1e-5)
    assert line.seconds_per_image == pytest.approx(rows[rows.step == STEPS].seconds.mean(), rel=1e-5)
    assert 60 not in table(tmp_path / "tenth").steps.tolist()  # the best of 60 steps was not scored in every image
    rows = frame(make(tmp_path / "every", keep="best", score_every=1)).query("step <= 60")
    build(tmp_path / "every")
    best = rows.loc[rows.groupby("image").reward.idxmax()]
    assert row(table(tmp_path / "every"), "ours", 60).matcher == pytest.approx(best.matcher.mean(), rel=1e-5)


def test_no_row_for_60_where_it_was_not_scored(tmp_path: Path) -> None:
    make(tmp_path, score_every=16)
    build(tmp_path)
    assert table(tmp_path).steps.tolist() == [0, 80]


@pytest.mark.parametrize(
    ("reward", "label"),
    [({"aesthetic": 1.0, "dual": 0.25}, "aesthetic+0.25*dual"), ({"matcher": 5.0}, "5*matcher")],
)
def test_a_mix_is_the_weighted_sum_and_called_one(tmp_path: Path, reward: dict[str, float], label: str) -> None:
    run = make(tmp_path, reward=reward)
    report = build(tmp_path)
    means = frame(run).query("step == 80")[list(SCORES)].mean()
    line = row(table(tmp_path), "ours", 80)
    assert line[label] == pytest.approx(sum(weight * means[name] for name, weight in reward.items()), rel=1e-5)
    assert line.matcher == pytest.approx(means.matcher, rel=1e-5)
    assert report.comparisons[0].scores[0] == label
    assert all("*" not in path.name for path in report.written)
    assert f"{label} {frame(run).query('step == 0')[list(reward)].mean() @ list(reward.values()):.4g} ->" in summary(
        run.folder
    )


def test_variants_of_a_method_are_told_apart(tmp_path: Path) -> None:
    for rate in (0.02, 0.1):
        make(tmp_path, "mpgr", method={"kind": "mpgr", "optimizer": {"lr": rate}})
    make(tmp_path, "none")
    build(tmp_path)
    labels = ["start", "mpgr (optimizer.lr=0.02)", "mpgr (optimizer.lr=0.1)", "none"]
    assert table(tmp_path).method.drop_duplicates().tolist() == labels


def test_two_settings_of_a_held_out_reward_are_two_columns(tmp_path: Path) -> None:
    """The numbers of the two never stand in one column, nor does one method's take part in the other's tests."""
    plain = make(tmp_path, "ours")
    large = make(tmp_path, "mpgr", rewards=config("mpgr")["rewards"] | {"dual": {"size": 64}})
    make(tmp_path, "reno", rewards={name: {"size": 32} for name in SCORES[:2]})
    build(tmp_path)
    lines, names = table(tmp_path), ["dual (size=32)", "dual (size=64)"]
    assert "dual" not in lines.columns
    for run, method, own, other in ((plain, "ours", *names), (large, "mpgr", *names[::-1])):
        mean = frame(run).query("step == 80").dual.mean()
        assert row(lines, method, 80)[own] == pytest.approx(mean, rel=1e-5)
        assert np.isnan(row(lines, method, 80)[other]) and np.isnan(row(lines, method, 80)[f"{other}_gain"])
    assert np.isnan([row(lines, "reno", 80)[name] for name in names]).all()
    assert np.isfinite([row(lines, "start", 0)[name] for name in names]).all()
    assert set(table(tmp_path, "significance").score) == {"aesthetic", "matcher"}
    assert "nan" not in (tmp_path / "tables" / "main.md").read_text()


def test_comparisons_are_never_mixed(tmp_path: Path) -> None:
    """Not even where the climbed reward has other settings."""
    make(tmp_path)
    make(tmp_path, "mpgr")
    make(tmp_path, protocol="native")
    make(tmp_path, model={"size": 64})
    make(tmp_path, rewards={name: {"size": 8 if name == "aesthetic" else 32} for name in SCORES})
    build(tmp_path)
    lines = table(tmp_path)
    assert sorted(lines.groupby("comparison").method.nunique()) == [2, 2, 2, 3]
    assert lines.comparison.str.fullmatch(r"shapes-aesthetic-(native|common-[0-9a-f]{8})").all()
    assert len(list((tmp_path / "plots").glob("latent-*.png"))) == 4


def test_a_single_prompt_has_no_interval(tmp_path: Path) -> None:
    for method in ("ours", "none"):
        run = Run.create(tmp_path, config(method, prompts=["alone"]), {})
        for seed in range(SEEDS):
            run.write(ImageId(0, seed), trajectory(method, seed, STEPS, 2.0), {})
    build(tmp_path)
    assert np.isnan(row(table(tmp_path), "ours", 80).aesthetic_gain_low)
    assert np.isnan(table(tmp_path, "time_to_target").ours_step_low).all()


# --- the files


def files(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in build(results).written}


def test_same_records_same_bytes_packed_or_loose(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    loose = files(results)
    assert len(loose) == 19
    assert files(results) == loose
    late = runs["ours"].record(ImageId(8, 2))
    content = late.read_bytes()
    late.unlink()
    pack(runs["ours"])
    late.write_bytes(content)  # partly packed: an interrupted run that was packed, then finished
    pack(runs["mpgr"])
    packed = files(results)
    for run in runs.values():
        unpack(run)
    assert packed == loose
    assert not re.search(rb"20\d\d-\d\d-\d\d|matplotlib\.org", loose["pareto-shapes-common.svg"])


def test_bytes_do_not_depend_on_the_process(built: tuple[Path, dict[str, Run]]) -> None:
    results, _ = built
    here = files(results)
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5", "MPLBACKEND": "svg", "TZ": "Asia/Tokyo"}
    command = [*GRADPROJ, "table", "--results", results]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=results)
    assert {path.name: path.read_bytes() for path in sorted(results.glob("[tp]*/*"))} == dict(sorted(here.items()))
    assert re.search(r"\nstart +0 +\d", done.stdout) and str(results) in done.stdout


def test_files_of_runs_that_are_gone_go_too(tmp_path: Path) -> None:
    make(tmp_path)
    other = make(tmp_path, "mpgr")
    build(tmp_path)
    own = tmp_path / "tables" / "mine.csv"
    own.write_text("a user's own")
    shutil.rmtree(other.folder)
    build(tmp_path)
    assert not (tmp_path / "tables" / "significance.csv").exists() and own.exists()


def test_summary_reads_one_run_only(tmp_path: Path) -> None:
    run = make(tmp_path)
    (tmp_path / "runs" / "stray").touch()
    means = frame(run).groupby("step")[["seconds", *SCORES]].mean()
    line = summary(run.folder)
    assert line.startswith(run.folder.name)
    for score in SCORES:
        assert f"{score} {means.loc[0, score]:.4g} -> {means.loc[STEPS, score]:.4g}" in line
    assert f"{means.loc[STEPS, 'seconds']:.3g} s/image" in line
    assert line.endswith("n 27")
    assert "\n" not in line


def test_a_workers_summary_loads_neither_torch_nor_what_draws() -> None:
    code = "import gradproj.report, sys; sys.exit(bool({'torch', 'matplotlib', 'scipy.stats'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, check=False).returncode == 0


def test_only_what_is_chosen_is_read(built: tuple[Path, dict[str, Run]], tmp_path: Path) -> None:
    results, runs = built
    shutil.copytree(results / "runs", tmp_path / "runs")
    make(tmp_path, protocol="native")
    damaged = tmp_path / "runs" / runs["none"].folder.name / "images" / "0004-2.csv"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    for only, methods in (
        (["*-ours-*", "*-mpgr-*"], [["mpgr", "ours"], ["ours"]]),
        (["shapes-aesthetic-native"], [["ours"]]),
        ([runs["mpgr"].folder.name], [["mpgr"]]),
    ):
        assert [list(comparison.methods) for comparison in find(tmp_path, Choice(only)).comparisons] == methods
