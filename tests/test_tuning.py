"""scripts/choose.py and scripts/tuning.py on made-up runs whose best setting is known, and the loop on real ones."""

import shlex
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import config
from scipy import stats

from gradproj.errors import UserError
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # scripts/ is no part of the package

import choose  # noqa: E402
import reproduce  # noqa: E402
import tuning  # noqa: E402
from tuning import Setting  # noqa: E402

PROMPTS = 12
SCORED = (0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40)


def write(folder: Path, method: str, setting: Setting, gain: float, quality: float, noise: float = 0.0) -> None:
    """A run whose target rises by ``gain`` within 40 steps and whose rendering measure is ``quality`` all along."""
    own = {"kind": method, "optimizer": {"lr": setting.lr}}
    own |= {} if setting.weight is None else {"weight": setting.weight}
    changes: dict[str, Any] = {"steps": 40, "score_every": "geometric", "method": own, "reward": "shapes_aesthetic"}
    changes |= {"rewards": {name: {} for name in ("shapes_aesthetic", "shapes_rendering")}}
    changes |= {"weights": {name: {} for name in ("model", "shapes_aesthetic", "shapes_rendering")}}
    changes |= {"prompts": [f"shape {index}" for index in range(PROMPTS)]}
    run = Run.create(folder, config(method, **changes), {"command": ["gradproj-run"]})
    apart = np.random.default_rng([3, int(1e6 * setting.lr)]).normal(0, noise, PROMPTS)
    apart -= apart.mean()  # ``quality`` is exactly the mean
    for prompt in range(PROMPTS):
        rows: list[dict[str, float | None]] = []
        for step in range(41):
            target, rendering = 3 + gain * step / 40, 0.9 if step == 0 else quality + apart[prompt]
            rows.append({"step": float(step), "seconds": 0.1 * step, "reward": target, "gradient_norm": 1.0})
            rows[-1] |= {"latent_rms": 1.0, "cosine": 1.0, "skipped": 0.0, "flatness": 0.9, "distance": 0.1}
            scores = (target, rendering) if step in SCORED else (None, None)
            rows[-1] |= zip(("shapes_aesthetic", "shapes_rendering"), scores, strict=True)
        run.write(ImageId(prompt, 0), rows, {})


def row(rows: Sequence[dict[str, Any]], method: str, rule: str = "quality") -> dict[str, Any]:
    (found,) = [one for one in rows if one["method"] == method and one[rule]]
    return found


def test_the_level_is_that_of_the_second_best_setting_of_the_method_that_reaches_least(tmp_path: Path) -> None:
    for lr, gain in ((0.01, 2.0), (0.02, 4.0), (0.04, 9.0)):  # the highest is one lucky setting
        write(tmp_path, "none", Setting(lr), gain, 0.5)
        write(tmp_path, "ours", Setting(lr), 10 * gain, 0.5)
    rows = choose.read(tmp_path)
    assert {one["level_of"] for one in rows} == {"none"}
    level = 3 + 0.9 * 4
    assert [one["level"] for one in rows] == pytest.approx([level] * 6)
    slow, quick = sorted(
        (one for one in rows if one["method"] == "none" and one["step"] > 0), key=lambda one: one["lr"]
    )
    assert (slow["step"], slow["between_steps"]) == (pytest.approx(36), "28-40")
    assert (quick["step"], quick["between_steps"]) == (pytest.approx(40 * 3.6 / 9), "14-20")
    assert np.isnan(next(one for one in rows if one["lr"] == 0.01 and one["method"] == "none")["step"])  # never there


def test_settings_run_later_are_judged_at_the_level_of_the_table_that_is_left(tmp_path: Path) -> None:
    for method, gain in (("none", 4.0), ("ours", 9.0)):
        write(tmp_path / "first", method, Setting(0.01), gain, 0.5)
    choose.report(choose.read(tmp_path / "first"), tmp_path / "first")
    for method, gain in (("ours", 7.2), ("reno", 3.0)):  # by themselves, they would have a lower level
        write(tmp_path / "later", method, Setting(0.02, None if method == "ours" else 1.0), gain, 0.5)
    ours, reno = choose.read(tmp_path / "later", tmp_path / "first/chosen.csv")
    assert (ours["level"], ours["level_of"], reno["level_of"]) == (pytest.approx(3 + 0.9 * 4), "none", "none")
    assert ours["step"] == pytest.approx(40 * 3.6 / 7.2) and np.isnan(reno["step"])
    assert (ours["quality"], reno["quality"]) == (True, False)


def test_a_table_without_the_level_of_a_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "none", Setting(0.01), 4.0, 0.5)
    (tmp_path / "table.csv").write_text("target,level,level_of\nshapes_matcher,0.9,none\n")
    with pytest.raises(UserError, match=r"table\.csv has no level for shapes_aesthetic"):
        choose.read(tmp_path, tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--workers", "0"], "give a whole number above 0, not '0'"),
        (["--with", "nonsense"], "it must be KEY=VALUE"),
        (["--with", "batc=3"], "did you mean batch?"),
    ],
)
def test_what_no_command_would_take_is_refused_before_the_first(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "main", *given])
    monkeypatch.setattr(reproduce, "run", lambda *_: pytest.fail("a command was run"))
    with pytest.raises(SystemExit, match=r"^2$"):
        reproduce.main()
    assert said in capsys.readouterr().err


def test_quality_takes_the_quickest_that_is_not_clearly_worse_and_speed_the_quickest(tmp_path: Path) -> None:
    write(tmp_path, "none", Setting(0.01), 8.0, 0.60, noise=0.1)  # the slowest is best
    write(tmp_path, "none", Setting(0.02), 8.5, 0.59, noise=0.1)
    write(tmp_path, "none", Setting(0.04), 16.0, 0.30, noise=0.1)  # clearly worse
    rows = choose.read(tmp_path)
    by_rate = {one["lr"]: one for one in rows}
    best = max(rows, key=lambda one: one["shapes_rendering"])
    for one in rows:
        runs = [next(r for r in (tmp_path / "runs").iterdir() if f"lr: {x['lr']}\n" in (r / "config.yaml").read_text())
                for x in (best, one)]  # fmt: skip
        ends = [Run.open(r).values(list(Run.open(r).records().values())) for r in runs]
        apart = ends[0][:, -1, -1] - ends[1][:, -1, -1]  # the rendering measure is the same at every step but the first
        assert one["behind"] == pytest.approx(apart.mean(), abs=1e-5)
        assert one["behind_error"] == pytest.approx(stats.sem(apart), rel=1e-3, abs=1e-9)
    close = [lr for lr, one in by_rate.items() if one is best or one["behind"] <= one["behind_error"]]
    assert close == [0.01, 0.02] and row(rows, "none")["lr"] == 0.02 and best["lr"] == 0.01
    assert row(rows, "none", "speed")["lr"] == 0.04


@pytest.mark.parametrize(("worse", "expected"), [(0.0, 0.02), (0.001, 0.01)])
def test_without_noise_the_smallest_difference_decides_and_none_is_a_tie(
    tmp_path: Path, worse: float, expected: float
) -> None:
    write(tmp_path, "none", Setting(0.01), 4.0, 0.6)
    write(tmp_path, "none", Setting(0.02), 8.0, 0.6 - worse)
    assert row(choose.read(tmp_path), "none")["lr"] == expected


def test_a_target_on_two_lists_of_prompts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "none", Setting(0.01), 4.0, 0.6)
    monkeypatch.setattr(sys.modules[__name__], "PROMPTS", 5)
    write(tmp_path, "ours", Setting(0.01), 4.0, 0.6)
    with pytest.raises(UserError, match="2 lists of prompts"):
        choose.read(tmp_path)


# --- the grid and its edges


def test_the_first_grid_is_octaves_and_four_weights_around_the_published_one() -> None:
    octaves = [0.01 * 2**k for k in range(7)]
    assert [setting.lr for setting in sorted(tuning.first("ours"))] == pytest.approx(octaves)
    assert tuning.first("reno") == set(map(Setting, *zip(*product(octaves, (0.01, 0.1, 1, 10)), strict=True)))
    assert len(tuning.first("prno")) == len(tuning.first("mpgr")) == 28
    assert all(tuple(sorted(ladder)) == ladder for ladder in (tuning.RATES, *tuning.WEIGHTS.values()))
    ours_alone = {"planar_low_pass"}  # its rate and shape were chosen together, by scripts/candidates.py
    assert {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")} == set(tuning.METHODS) | ours_alone


def test_a_choice_inside_asks_for_nothing_and_at_the_bound_says_so() -> None:
    tried = tuning.first("ours")
    assert tuning.more("ours", tried, Setting(0.02)) == set() and tuning.edges("ours", tried, Setting(0.02)) == []
    assert tuning.more("ours", tried, Setting(0.64)) == {Setting(1.28)}
    assert tuning.edges("ours", tried, Setting(0.64)) == ["lr 0.64 is the highest tried"]
    tried |= {Setting(1.28)}
    assert tuning.more("ours", tried, Setting(1.28)) == set()
    assert tuning.edges("ours", tried, Setting(1.28)) == ["lr 1.28 is the highest tried, and the bound"]
    assert tuning.more("ours", tried, Setting(0.64)) == set()


def test_the_grid_of_rate_and_weight_stays_a_product_and_an_interrupted_extension_is_finished() -> None:
    tried = tuning.first("mpgr")
    rates = {setting.lr for setting in tried}
    down = tuning.more("mpgr", tried, Setting(0.02, 0.3))
    assert down == {Setting(lr, 0.1) for lr in rates}
    part = tried | set(sorted(down)[:4])  # it was killed after four of them
    assert tuning.more("mpgr", part, Setting(0.02, 0.3)) == down - part
    corner = tuning.more("mpgr", tried | down, Setting(0.01, 0.1))
    assert corner == {Setting(lr, 0.03) for lr in rates} | {Setting(0.005, w) for w in (0.03, 0.1, 0.3, 1, 3, 10)}
    assert tuning.more("mpgr", tried - {Setting(0.02, 1)}, Setting(0.04, 1)) == {Setting(0.02, 1)}  # a hole


def test_the_extension_ends(tmp_path: Path) -> None:
    """Whatever is chosen: here the lowest of both, in an endless climb out of the grid."""
    for method in ("ours", "prno"):
        tried, rounds = tuning.first(method), 0
        while more := tuning.more(method, tried, min(tried)):
            tried, rounds = tried | more, rounds + 1
        assert rounds <= 3 and min(tried) == (Setting(0.00125) if method == "ours" else Setting(0.00125, 0.001))


def test_a_weight_has_its_own_command_over_all_its_rates() -> None:
    commands = tuning.commands("shapes_matcher", "reno", {Setting(0.02, 0.1), Setting(0.01, 0.1), Setting(0.02, 1)})
    assert [command[-2:] for command in commands] == [
        ["method.optimizer.lr=0.01,0.02", "method.weight=0.1"],
        ["method.optimizer.lr=0.02", "method.weight=1"],
    ]
    assert shlex.split(tuning.typed(commands[0])) == ["gradproj-run", *commands[0]]


# --- the prompts and the loop


def test_the_tuning_prompts_are_48_that_are_tested_nowhere() -> None:
    sets = {name: (ROOT / "prompts" / f"{name}.txt").read_text().splitlines() for name in
            ("shapes_tuning", "shapes_test", "shapes_demo")}  # fmt: skip
    assert len(set(sets["shapes_tuning"])) == 48

    def kinds(name: str) -> set[frozenset[str]]:
        return {frozenset(prompt.split(" and ")) for prompt in sets[name]}

    assert not kinds("shapes_tuning") & (kinds("shapes_test") | kinds("shapes_demo"))


def test_tune_sweeps_chooses_and_goes_on_beyond_the_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ("prompts=[a red ring,a blue square]", "steps=3", "batch=2", "threads=1")
    small = {"METHODS": ("reno",), "TARGETS": ("shapes_aesthetic",), "SETTINGS": settings}
    small |= {"SPARE_RATES": (1, 1), "SPARE_WEIGHTS": (1, 1)}
    small |= {"RATES": (0.01, 0.02, 0.04, 0.08), "WEIGHTS": {"reno": (0.01, 0.1, 1.0)}}
    for name, value in small.items():
        monkeypatch.setattr(tuning, name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert reproduce.tune(1, tmp_path)
    rows, said = choose.read(tmp_path), capfd.readouterr().out
    tried = {(one["lr"], one["weight"]) for one in rows}
    assert {(0.02, 0.1), (0.04, 0.1)} < tried and len(tried) == len(rows)  # the first grid has edges alone
    assert len(tried) == len({lr for lr, _ in tried}) * len({weight for _, weight in tried})
    assert choose.extensions(rows, tmp_path) == [] and (tmp_path / "chosen.csv").exists()
    assert "# at an edge: shapes_aesthetic, reno, speed: lr 0.08 is the highest tried, and the bound" in said
    assert "  shapes_aesthetic:  # level" in said and "# to run next: gradproj-run -m" in said
