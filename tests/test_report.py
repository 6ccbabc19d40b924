"""The report against plain pandas, scipy's bootstrap and numpy's interp, and everything it must refuse."""

import hashlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import GRADPROJ
from made_up import PROMPTS, SCORES, SEEDS, STEPS, config, frame, make, trajectory
from scipy import stats

from gradproj.errors import UserError
from gradproj.report import build, summary
from gradproj.report.load import curves
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack, unpack

ROOT = Path(__file__).parents[1]


def table(results: Path, name: str = "main") -> Any:
    return pd.read_csv(results / "tables" / f"{name}.csv")


def row(lines: Any, method: str, steps: int) -> Any:
    found = lines[(lines.method == method) & (lines.steps == steps)]
    assert len(found) == 1
    return found.iloc[0]


def prompt_interval(change: Any, score: str) -> tuple[float, float]:
    """scipy's percentile interval of the mean over prompts; every prompt has as many seeds."""
    means = change.groupby("prompt")[score].mean().to_numpy()
    settings: Any = {"n_resamples": 20_000, "method": "percentile", "random_state": 1}
    found = stats.bootstrap((means,), np.mean, **settings)
    return found.confidence_interval.low, found.confidence_interval.high


def refused(results: Path) -> str:
    with pytest.raises(UserError) as error:
        build(results)
    assert not (results / "tables").exists()
    return str(error.value)


def edit(path: Path, old: bytes, new: bytes) -> None:
    """Write other numbers into a record and seal it again, as a writer with other numbers would."""
    columns = path.read_bytes().split(b"\n")[0].decode().split(",")
    text = path.read_bytes().rpartition(b"# sha256 ")[0].replace(old, new, 1)
    assert text != path.read_bytes().rpartition(b"# sha256 ")[0]
    rows: Any = pd.read_csv(io.BytesIO(text), keep_default_na=False, na_values=[""]).astype(float)
    prompt, seed = map(int, path.stem.split("-"))
    lines = [{c: None if np.isnan(r[c]) and c in SCORES else r[c] for c in columns} for r in rows.to_dict("records")]
    path.unlink()  # a record that is there is never replaced
    Run.open(path.parents[1]).write(ImageId(prompt, seed), lines, {})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Run]]:
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
    line = row(table(results), method, steps)
    for score in SCORES:
        assert line[score] == pytest.approx(means.loc[steps, score], rel=1e-5)
        assert line[f"{score}_gain"] == pytest.approx(means.loc[steps, score] - means.loc[0, score], abs=1e-4)
        assert row(table(results), "no opt.", 0)[score] == pytest.approx(means.loc[0, score], rel=1e-5)
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
    for _, line in lines.iterrows():
        mean = means[line.method]
        level = start + line.share * (top - start)
        rising = np.maximum.accumulate(mean["aesthetic"])  # its first crossings are the curve's own
        step = np.interp(level, rising, mean.index) if line.share < 1 else line.step
        assert line.level == pytest.approx(level, rel=1e-5)
        assert line.step == pytest.approx(step, abs=1e-3)
        assert np.interp(line.step, mean.index, mean["aesthetic"]) == pytest.approx(level, rel=1e-5)
        assert line.seconds_per_image == pytest.approx(np.interp(step, mean.index, mean["seconds"]), rel=1e-3)
        at = grid[line.method].groupby(["prompt", "image"])[["step", *SCORES]]
        images = at.apply(
            lambda g, s=step: pd.Series({c: np.interp(s, g.step, g[c]) for c in SCORES[1:]})
        ).reset_index()
        for score in SCORES[1:]:
            low, high = prompt_interval(images, score)
            assert line[score] == pytest.approx(images[score].mean(), rel=1e-4)
            assert line[f"{score}_low"] == pytest.approx(low, abs=0.1 * (high - low))
            assert line[f"{score}_high"] == pytest.approx(high, abs=0.1 * (high - low))


def test_an_unfinished_run_is_named_even_when_it_is_alone(tmp_path: Path) -> None:
    run = make(tmp_path)
    for name in ("0000-1", "0000-2", "0004-2"):
        (run.images / f"{name}.csv").unlink()
    assert "lacks 3 of 27 images (0000-1 0000-2 0004-2)" in refused(tmp_path)


def test_keep_best_takes_the_row_of_the_highest_reward(tmp_path: Path) -> None:
    run = make(tmp_path, keep="best")
    build(tmp_path)
    rows = frame(run)
    best = rows.loc[rows.groupby("image").reward.idxmax()]
    assert (best.step != STEPS).any()
    line = row(table(tmp_path), "ours", 80)
    assert [line[score] for score in SCORES] == pytest.approx(best[list(SCORES)].mean().tolist(), rel=1e-5)
    assert line.seconds_per_image == pytest.approx(rows[rows.step == STEPS].seconds.mean(), rel=1e-5)
    assert 60 not in table(tmp_path).steps.tolist()  # the best of 60 steps was not scored in every image


def test_keep_best_at_60_where_every_step_is_scored(tmp_path: Path) -> None:
    run = make(tmp_path, keep="best", score_every=1)
    build(tmp_path)
    rows = frame(run).query("step <= 60")
    best = rows.loc[rows.groupby("image").reward.idxmax()]
    assert row(table(tmp_path), "ours", 60).matcher == pytest.approx(best.matcher.mean(), rel=1e-5)


def test_records_of_the_first_form_are_read_beside_todays(tmp_path: Path) -> None:
    """The first records had no flatness and distance."""
    run = make(tmp_path)
    expected = curves(run, dict(sorted(run.records())))
    first, second, *_ = sorted(run.images.glob("*.csv"))
    rows = [line.split(",") for line in first.read_text().splitlines()[:-1]]
    text = "".join(",".join([*row[:7], *row[9:]]) + "\n" for row in rows).encode()
    first.unlink()
    first.write_bytes(text + b"# sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n")
    found = curves(run, dict(sorted(run.records())))
    for score, values in expected.scores.items():
        assert np.array_equal(found.scores[score], values)
    assert np.isnan(found.latent["flatness"][0]).all() and np.isfinite(found.latent["cosine"]).all()
    assert np.array_equal(found.latent["flatness"][1:], expected.latent["flatness"][1:])
    assert np.isfinite(expected.latent["flatness"]).all()
    text = text.replace(b"step,seconds", b"step,minutes", 1)
    second.unlink()
    second.write_bytes(text + b"# sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n")
    with pytest.raises(UserError, match="cut, edited or foreign"):
        list(run.records())


def test_no_row_for_60_where_it_was_not_scored(tmp_path: Path) -> None:
    make(tmp_path, score_every=16)
    build(tmp_path)
    assert table(tmp_path).steps.tolist() == [0, 80]


def test_a_mix_is_the_weighted_sum(tmp_path: Path) -> None:
    run = make(tmp_path, reward={"aesthetic": 1.0, "dual": 0.25})
    build(tmp_path)
    means = frame(run).query("step == 80")[list(SCORES)].mean()
    line = row(table(tmp_path), "ours", 80)
    assert line["aesthetic+dual"] == pytest.approx(means.aesthetic + 0.25 * means.dual, rel=1e-5)
    assert line.matcher == pytest.approx(means.matcher, rel=1e-5)


def test_variants_of_a_method_are_told_apart(tmp_path: Path) -> None:
    for rate in (0.02, 0.1):
        make(tmp_path, "mpgr", method={"kind": "mpgr", "optimizer": {"lr": rate}})
    make(tmp_path, "none")
    build(tmp_path)
    labels = ["no opt.", "mpgr (optimizer.lr=0.02)", "mpgr (optimizer.lr=0.1)", "none"]
    assert table(tmp_path).method.drop_duplicates().tolist() == labels


def test_comparisons_are_never_mixed(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, "mpgr")
    make(tmp_path, protocol="native")
    make(tmp_path, model={"size": 64})
    build(tmp_path)
    lines = table(tmp_path)
    assert lines.groupby("comparison").method.nunique().tolist() == [3, 2, 2]
    assert lines.comparison.str.fullmatch(r"shapes-aesthetic-(native|common-[0-9a-f]{8})").all()
    assert len(list((tmp_path / "plots").glob("latent-*.png"))) == 3


def test_best_last_step_is_bold_and_the_table_is_rectangular(built: tuple[Path, dict[str, Run]]) -> None:
    results, _ = built
    text = (results / "tables" / "main.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    bold = {line.split("|")[1].strip(): line.count("**") // 2 for line in rows if "| 80 |" in line}
    assert bold == {"ours": 2, "mpgr": 0, "none": 1}  # none keeps most of the matcher's score
    assert all("**" not in line for line in rows if "| 60 |" in line)
    tex = (results / "tables" / "main.tex").read_text()
    assert len(re.findall(r"\\textbf", tex)) == 3
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1


def files(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in build(results)}


def test_same_records_same_bytes_packed_or_loose(built: tuple[Path, dict[str, Run]]) -> None:
    results, runs = built
    loose = files(results)
    assert len(loose) == 19
    assert files(results) == loose
    late = runs["ours"].images / "0008-2.csv"
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
    command = [*GRADPROJ, "table", "--results", results]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5", "MPLBACKEND": "svg", "TZ": "Asia/Tokyo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=results)
    assert {path.name: path.read_bytes() for path in sorted(results.glob("[tp]*/*"))} == dict(sorted(here.items()))
    assert "| no opt. | 0 |" in done.stdout
    assert str(results / "plots" / "pareto-shapes-common.png") in done.stdout


def test_script_refuses_without_a_traceback(tmp_path: Path) -> None:
    command = [*GRADPROJ, "table", "--results", tmp_path]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_images_are_named_with_the_command(tmp_path: Path) -> None:
    make(tmp_path, "mpgr", method={"kind": "mpgr", "block": 8})
    other = make(tmp_path, "mpgr", method={"kind": "mpgr", "block": 16})
    make(tmp_path, "ours")
    (other.images / "0003-1.csv").unlink()
    message = refused(tmp_path)
    assert f"{other.folder.name} lacks 1 of 27 images (0003-1)" in message
    assert f"gradproj-run method=mpgr steps=20 seeds={SEEDS}" in message
    assert len(message.splitlines()) == 2


def test_a_run_without_images_is_named(tmp_path: Path) -> None:
    make(tmp_path, "mpgr")
    empty = Run.create(tmp_path, config("ours"), {})
    assert empty.folder.name in refused(tmp_path)


def test_a_foreign_run_is_named(tmp_path: Path) -> None:
    make(tmp_path, "mpgr")
    run = make(tmp_path)
    path = run.folder / "config.yaml"
    path.write_text(yaml.safe_dump(run.config | {"steps": STEPS, "keep": "best"}))
    assert f"{run.folder} is foreign or edited" in refused(tmp_path)


@pytest.mark.parametrize("stray", ["notes.txt", "old/notes.txt"])
def test_strays_are_named_unless_hidden(tmp_path: Path, stray: str) -> None:
    make(tmp_path)
    for path in (tmp_path / "runs" / f".{stray}", tmp_path / "runs" / stray):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert str(tmp_path / "runs" / stray.split("/")[0]) in refused(tmp_path)
    assert f".{stray}" not in refused(tmp_path)


def test_a_tampered_byte_is_named(tmp_path: Path) -> None:
    path = make(tmp_path).images / "0004-2.csv"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "0004-2.csv (or its packed copy) is" in refused(tmp_path)


def test_a_duplicate_is_named(tmp_path: Path) -> None:
    run = make(tmp_path)
    twice = run.images / "0005-0.csv"
    content = twice.read_bytes()
    pack(run)
    twice.write_bytes(content)
    twice.write_bytes(content.replace(b"5", b"6", 1))
    assert "0005-0.csv" in refused(tmp_path)


@pytest.mark.parametrize("name", ["0005-0 (1)", "00005-0", "0005"])
def test_a_copy_under_another_name_is_named(tmp_path: Path, name: str) -> None:
    run = make(tmp_path)
    (run.images / f"{name}.csv").write_bytes((run.images / "0005-0.csv").read_bytes())
    assert f"{name}.csv is not called" in refused(tmp_path)


@pytest.mark.parametrize("name", ["model", "matcher"])
def test_two_checkpoints_under_one_name(tmp_path: Path, name: str) -> None:
    one = make(tmp_path, "mpgr")
    weights = config("ours")["weights"] | {name: {"weights.safetensors": "another"}}
    other = make(tmp_path, "ours", weights=weights)
    message = refused(tmp_path)
    assert f"{name} is another checkpoint" in message
    assert one.folder.name in message
    assert other.folder.name in message
    assert len(message.splitlines()) == 2


def test_two_settings_under_one_score_name(tmp_path: Path) -> None:
    make(tmp_path, "mpgr")
    make(tmp_path, "ours", rewards=config("ours")["rewards"] | {"dual": {"size": 64}})
    assert "dual is another checkpoint or has other settings" in refused(tmp_path)


@pytest.mark.parametrize(("shift", "fine"), [(5e-4, True), (5e-3, False)])
def test_another_start_is_refused(tmp_path: Path, shift: float, fine: bool) -> None:
    make(tmp_path, "mpgr")
    make(tmp_path, "ours", 2.0, shift)
    if fine:
        assert build(tmp_path)
        return
    message = refused(tmp_path)
    assert all(f"{score} of image 0000-0 at step 0" in message for score in SCORES)


@pytest.mark.parametrize(("old", "new"), [(b"\n40,", b"\n41,"), (b"\n0,", b"\n-0.5,")])
def test_steps_out_of_order_are_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    run = make(tmp_path)
    edit(run.images / "0002-1.csv", old, new)
    assert "0002-1.csv: row" in refused(tmp_path)


@pytest.mark.parametrize("step", [0, 30, STEPS])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, step: int, value: float) -> None:
    run = make(tmp_path)
    rows = trajectory("ours", 7, STEPS, 2.0)
    rows[step]["matcher"] = value
    (run.images / "0002-1.csv").unlink()
    run.write(ImageId(2, 1), rows, {})
    assert f"0002-1.csv: row {step} " in refused(tmp_path)


def test_an_unscored_last_step_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    rows = trajectory("ours", 7, STEPS, 2.0)
    rows[-1] |= dict.fromkeys(SCORES)
    (run.images / "0002-1.csv").unlink()
    run.write(ImageId(2, 1), rows, {})
    assert f"0002-1.csv: row {STEPS} " in refused(tmp_path)


def test_all_problems_at_once_but_no_more_than_twenty(tmp_path: Path) -> None:
    for index in range(23):
        (tmp_path / "runs" / f"stray{index:02d}").mkdir(parents=True)
    message = refused(tmp_path)
    assert "stray00" in message
    assert "stray19" in message
    assert "stray20" not in message
    assert message.endswith("and 3 more")


def test_nothing_to_report(tmp_path: Path) -> None:
    assert "make run" in refused(tmp_path)


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


def test_a_single_prompt_has_no_interval(tmp_path: Path) -> None:
    run = Run.create(tmp_path, config("ours", prompts=["one"]), {})
    for seed in range(SEEDS):
        run.write(ImageId(0, seed), trajectory("ours", seed, STEPS, 2.0), {})
    build(tmp_path)
    assert np.isnan(row(table(tmp_path), "ours", 80).aesthetic_gain_low)


def test_importing_the_report_imports_no_torch() -> None:
    code = "import gradproj.report, sys; assert 'pandas' in sys.modules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, check=True)
