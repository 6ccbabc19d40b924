"""Scores given afterwards: the numbers that the records would hold, kept whole, and taken in by the table."""

import csv
import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS
from hydra import compose, initialize_config_dir
from PIL import Image as Pillow
from PIL.Image import Image as Picture
from test_contracts import directional, to_8_bit
from test_contracts import pictures as contract_pictures
from test_report import SCORES, SEEDS, STEPS, config, prompt_interval, row, table, trajectory

from gradproj import inputs, scores
from gradproj import run as edge
from gradproj.errors import UserError
from gradproj.records import Run
from gradproj.report import build, plots, summary
from gradproj.report.compare import compare
from gradproj.report.load import load
from gradproj.rescore import rescore
from gradproj.scores import Scores

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "example_reward"
COMMAND = Path(sys.executable).with_name("gradproj-run")
MINIATURE = ('prompts=["a red ring","a blue square and a white circle"]', "seeds=2", "steps=5", "score_every=2")
MINIATURE += ("method.optimizer.lr=2",)  # far too large: the best step is not the last
LATER = ("shapes_heldout", "shapes_matcher")
TARGET, ALL = "rewards=[shapes_aesthetic]", f"rewards=[shapes_aesthetic,{','.join(LATER)}]"
PROMPTS = 3  # of the runs that are only written here


def launch(results: Path, *overrides: str) -> Run:
    """``gradproj-run`` within this process."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", [*MINIATURE, f"results={results}", *overrides])
    return Run.open(edge.run_once(composed, "shapes", "ours"))


def rows(run: Run, image: str) -> list[dict[str, str]]:
    """A record, read without the library."""
    lines = (run.images / f"{image}.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def recorded(run: Run, reward: str) -> dict[str, tuple[float, float]]:
    """Image -> the official score of its first and its kept picture, as the records have them."""
    found = {}
    for image in run.done():
        steps = rows(run, image)
        last = max(steps, key=lambda step: float(step["reward"])) if run.config["keep"] == "best" else steps[-1]
        found[image] = float(steps[0][reward]), float(last[reward])
    return found


Pairs = Mapping[str, tuple[float, float]]


def same(one: Pairs, other: Pairs, tolerance: float = 1e-5) -> None:
    """The same images and, to six digits where nothing else is said, numbers."""
    assert sorted(one) == sorted(other)
    for image in one:
        assert one[image] == pytest.approx(other[image], rel=tolerance)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file was written, and its bytes; but for the sheet, which is drawn at every call."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "before_after.png"]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def refusal(function: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    return str(error.value)


class Brightness:
    """A reward that counts what it is shown; after ``most`` calls the process is killed."""

    def __init__(self, weights: str = "one", most: int = 10**9) -> None:
        self.weights = {"brightness.safetensors": weights}
        self.calls: list[int] = []
        self.most = most

    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> torch.Tensor:
        if len(self.calls) == self.most:
            raise KeyboardInterrupt
        self.calls.append(len(pictures))
        pairs = zip(pictures, prompts, strict=True)
        return torch.tensor(
            [float(np.asarray(picture).mean()) + 1000 * int(prompt.split()[-1]) for picture, prompt in pairs]
        )


def level(image: int, kept: bool) -> int:
    return 10 * image + 5 * kept


def write(results: Path, method: str = "ours", seeds: int = SEEDS, /, **changes: Any) -> Run:
    """A run with records and tiny grey pictures, ``seeds`` per prompt; written by nobody's optimisation."""
    prompts = [f"shape {index}" for index in range(PROMPTS)]
    run = Run.create(results, config(method, **{"prompts": prompts} | changes), {"command": ["gradproj-run"]})
    for image in range(PROMPTS * SEEDS):
        if image % SEEDS < seeds:
            grey = [Pillow.new("RGB", (2, 2), (level(image, kept),) * 3) for kept in (False, True)]
            lines = trajectory(method, image, STEPS, 2.0)
            for line in lines:
                if int(line["step"] or 0) % 10:
                    line |= dict.fromkeys(SCORES)
            run.write(image // SEEDS, image % SEEDS, lines, {"-start": grey[0], "": grey[1]})
    return run


def expected(seeds: int = SEEDS) -> dict[str, tuple[float, float]]:
    """What ``Brightness`` gives the pictures of ``write``."""
    images = [image for image in range(PROMPTS * SEEDS) if image % SEEDS < seeds]
    return {
        f"{image // SEEDS:04d}-{image % SEEDS}": (
            1000.0 * (image // SEEDS) + level(image, False),
            1000.0 * (image // SEEDS) + level(image, True),
        )
        for image in images
    }


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """``scripts/rescore.py`` within this process -> exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["rescore.py", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "scripts" / "rescore.py"), run_name="__main__")
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return end.value.code, said.out, said.err

    return call


# --- the numbers


@pytest.fixture(scope="module", params=["last", "best"])
def three_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """One experiment: all scored on the way, only the target scored, and ``held_out=after``."""
    folder = tmp_path_factory.mktemp(request.param)
    keep = f"keep={request.param}"
    during = launch(folder / "during", ALL, keep)
    return during, launch(folder / "target", TARGET, keep), launch(folder / "after", ALL, keep, "held_out=after")


def test_the_experiment_tells_keep_best_from_keep_last(three_ways: tuple[Run, Run, Run]) -> None:
    steps = [rows(three_ways[0], image) for image in sorted(three_ways[0].done())]
    assert any(max(one, key=lambda step: float(step["reward"])) is not one[-1] for one in steps)


@pytest.mark.parametrize("reward", LATER)
def test_scores_given_afterwards_are_those_that_the_records_would_hold(
    three_ways: tuple[Run, Run, Run], reward: str
) -> None:
    during, target, after = three_ways
    made, settings = edge.compose_reward(reward, [])
    missing = target.done() - scores.read(target).get(reward, Scores({}, {})).values.keys()
    assert rescore(target, reward, made, settings, batch=3) == len(missing)
    for run in (target, after):
        given = scores.read(run)[reward]
        same(given.values, recorded(during, reward))
        own = during.config["weights"][reward], during.config["rewards"][reward]
        assert (given.checkpoint["weights"], given.checkpoint["settings"]) == own
    assert len(recorded(during, reward)) == 4


def test_a_run_scored_afterwards_is_named_by_what_it_recorded(three_ways: tuple[Run, Run, Run]) -> None:
    during, target, after = three_ways
    assert after.folder.name == target.folder.name != during.folder.name
    assert list(after.config["rewards"]) == ["shapes_aesthetic"]
    assert sorted(after.config["weights"]) == ["model", "shapes_aesthetic"]
    for name in ("heldout", "matcher"):
        assert f"shapes_{name}" in summary(after.folder)


def test_a_second_call_scores_nothing_again(three_ways: tuple[Run, Run, Run]) -> None:
    after = three_ways[2]
    before = state(after.folder)
    launch(after.folder.parents[1], ALL, f"keep={after.config['keep']}", "held_out=after")
    assert state(after.folder) == before


def test_shards_batches_and_seeds_added_later_give_the_same_scores(tmp_path: Path) -> None:
    settings = (ALL, "held_out=after", "method.optimizer.lr=0.02")
    whole = launch(tmp_path / "whole", *settings)
    for more in (("shards=2", "shard=1", "batch=1"), ("seeds=1", "batch=3"), ("shards=2", "shard=0", "batch=2")):
        run = launch(tmp_path / "parts", *settings, *more)
        for reward in LATER:
            assert scores.read(run)[reward].values.keys() == run.done()
    assert run.done() == whole.done()
    for reward in LATER:
        same(scores.read(run)[reward].values, scores.read(whole)[reward].values, 1e-3)  # another batch rounds otherwise


def test_new_seeds_that_are_not_scored_yet_do_not_stop_a_run(tmp_path: Path) -> None:
    run = launch(tmp_path, TARGET, "seeds=1")
    rescore(run, "shapes_heldout", *edge.compose_reward("shapes_heldout", []))
    launch(tmp_path, TARGET, "seeds=2")
    assert "shapes_heldout" not in summary(run.folder)
    assert "shapes_heldout.csv lacks 2 of 4 images" in refusal(build, tmp_path)


@pytest.mark.parametrize("mix", ["{shapes_matcher: 1, shapes_aesthetic: 2}", "shapes_matcher"])
def test_every_part_of_the_target_is_recorded_and_the_others_scored_after(tmp_path: Path, mix: str) -> None:
    run = launch(tmp_path, ALL, "held_out=after", f"reward={mix}", "steps=1", "seeds=1")
    climbed = sorted(set(re.findall("shapes_[a-z]+", mix)))
    assert sorted(run.config["rewards"]) == climbed
    assert sorted([*climbed, *scores.read(run)]) == ["shapes_aesthetic", *LATER]


@pytest.mark.parametrize("bad", ["before", "null", "1"])
def test_an_unknown_moment_is_refused(bad: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        message = refusal(inputs.check, compose("config", [f"held_out={bad}"]))
    assert "during or after" in message and "type held_out=during" in message


# --- adding


def test_the_file_holds_every_image_once_with_its_own_prompt_and_pictures(tmp_path: Path) -> None:
    run, reward = write(tmp_path), Brightness()
    assert rescore(run, "brightness", reward, {"size": 1}, batch=4) == 9
    assert reward.calls == [4, 4, 4, 4, 1, 1]  # start and kept
    assert scores.read(run)["brightness"].values == expected()
    lines = (run.folder / "scores" / "brightness.csv").read_text().splitlines()
    assert json.loads(lines[0].removeprefix("# ")) == {
        "run": run.folder.name,
        "reward": "brightness",
        "weights": reward.weights,
        "settings": {"size": 1},
    }
    assert lines[1:3] == ["image,start,kept", "0000-0,0,5"]
    assert [line.split(",")[0] for line in lines[2:-1]] == sorted(expected())


def test_a_second_time_adds_only_what_is_missing_and_changes_no_row(tmp_path: Path) -> None:
    run = write(tmp_path, "ours", 1)
    assert rescore(run, "brightness", Brightness(), {"size": 1}) == 3
    before = state(run.folder)
    again = Brightness()
    assert rescore(run, "brightness", again, {"size": 1.0}) == 0
    assert (again.calls, state(run.folder)) == ([], before)
    assert rescore(write(tmp_path), "brightness", again, {"size": 1}) == 6
    assert again.calls == [6, 6]
    assert scores.read(run)["brightness"].values == expected()
    scores.add(run, "brightness", Scores({"weights": again.weights, "settings": {"size": 1}}, {"0000-0": (7.0, 7.0)}))
    assert scores.read(run)["brightness"].values == expected()


def test_a_kill_loses_one_batch(tmp_path: Path) -> None:
    run = write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        rescore(run, "brightness", Brightness(most=5), {}, batch=2)  # in the middle of the third batch
    early = scores.read(run)["brightness"].values
    assert early == {image: pair for image, pair in expected().items() if image in sorted(expected())[:4]}
    after = Brightness()
    assert rescore(run, "brightness", after, {}, batch=2) == 5
    assert sum(after.calls) == 2 * 5
    assert scores.read(run)["brightness"].values == expected()


def test_processes_side_by_side_lose_nothing(tmp_path: Path) -> None:
    run = write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from gradproj.records import Run; from gradproj import scores\n"
        "run, own = Run.open(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for i in range(30): scores.add(run, 'brightness', scores.Scores({}, {f'{i:04d}-{own}': (i, own)}))"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    workers = [subprocess.Popen([*command, str(own)], env=os.environ | {"PYTHONPATH": str(ROOT)}) for own in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert scores.read(run)["brightness"].values == {f"{i:04d}-{own}": (i, own) for i in range(30) for own in range(3)}


@pytest.mark.parametrize("loose", [0, 1])
def test_a_packed_run_is_scored_from_its_pictures(tmp_path: Path, loose: int) -> None:
    run = write(tmp_path, "ours", SEEDS - loose)
    run.pack()
    write(tmp_path)
    if not loose:
        run.pack()
        assert not list(run.images.glob("*.csv"))
    assert rescore(run, "brightness", Brightness(), {}) == 9
    assert scores.read(run)["brightness"].values == expected()
    run.pack()
    run.unpack()
    assert scores.read(run)["brightness"].values == expected()


# --- refusals


@pytest.mark.parametrize("gone", ["*.png", "0001-1.png", "0001-1-start.png"])
def test_pictures_that_are_not_there_are_named_before_the_work(tmp_path: Path, gone: str) -> None:
    run, reward = write(tmp_path), Brightness()
    run.pack()
    for path in run.images.glob(gone):
        path.unlink()
    message = refusal(rescore, run, "brightness", reward, {})
    count, first = (18, "0000-0-start.png") if gone == "*.png" else (1, gone)
    assert f"{count} of 18 pictures" in message and str(run.images / first) in message and run.command in message
    assert reward.calls == [] and not (run.folder / "scores").exists()


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    run = write(tmp_path)
    path = run.images / "0001-1.png"
    to_8_bit(contract_pictures(32, 32))[0][0].save(path)
    for content in (b"", b"hello", path.read_bytes()[:-500]):
        path.write_bytes(content)
        assert f"{path} is cut or no picture" in refusal(rescore, run, "brightness", Brightness(), {})


@pytest.mark.parametrize("change", ["weights", "settings", "file"])
def test_two_checkpoints_under_one_name_are_refused(tmp_path: Path, change: str) -> None:
    run = write(tmp_path, "ours", 1)
    rescore(run, "brightness", Brightness(), {"size": 1, "repo": None})
    write(tmp_path)
    before = state(run.folder)
    other = Brightness("two") if change == "weights" else Brightness()
    if change == "file":
        other.weights |= {"tokenizer.json": "1"}
    settings = {"size": 2 if change == "settings" else 1, "repo": None}
    message = refusal(rescore, run, "brightness", other, settings)
    assert "another checkpoint or other settings" in message
    assert str(run.folder / "scores" / "brightness.csv") in message and "move it away, then score again" in message
    assert (state(run.folder), other.calls) == (before, [])
    (run.folder / "scores" / "brightness.csv").unlink()
    assert rescore(run, "brightness", other, settings) == 9  # the advice works


def test_a_reward_that_the_records_have_is_refused(tmp_path: Path) -> None:
    run, reward = write(tmp_path), Brightness()
    assert "dual in its records: there is nothing to score again" in refusal(rescore, run, "dual", reward, {})
    assert not (run.folder / "scores").exists() and reward.calls == []


def test_a_file_for_a_reward_that_the_records_have_is_refused_by_the_table(tmp_path: Path) -> None:
    run = write(tmp_path)
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    seal(path.rename(path.with_stem("dual")), b'"brightness"', b'"dual"')
    assert f"dual in its records: remove {path.with_stem('dual')}" in refusal(build, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused_and_not_kept(tmp_path: Path, value: float) -> None:
    run = write(tmp_path)
    message = refusal(scores.add, run, "brightness", Scores({}, {"0000-0": (1.0, 2.0), "0000-1": (1.0, value)}))
    assert "brightness gives image 0000-1" in message and "not a finite number" in message
    assert scores.read(run) == {}


def test_a_reward_that_fails_is_said_and_leaves_what_it_did(tmp_path: Path) -> None:
    class Failing(Brightness):
        def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> torch.Tensor:
            if prompts[0] == "shape 2":
                raise torch.OutOfMemoryError("64 GiB")
            return super().score(pictures, prompts)

    run = write(tmp_path)
    message = refusal(lambda: rescore(run, "brightness", Failing(), {}, batch=3))
    assert "images 0002-0 to 0002-2" in message and "64 GiB" in message and "same command goes on" in message
    assert len(scores.read(run)["brightness"].values) == 6


def seal(path: Path, old: bytes, new: bytes) -> None:
    """Change a scores file and seal it again, as another writer would."""
    text = path.read_bytes().rpartition(b"# sha256 ")[0]
    assert old in text
    text = text.replace(old, new, 1)
    path.write_bytes(text + b"# sha256 " + hashlib.sha256(text).hexdigest().encode() + b"\n")


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    if kind == "foreign columns":
        return seal(path, b"image,start,kept", b"image,kept,start")
    if kind == "a column more":
        return seal(path, b"0000-0,0,5", b"0000-0,0,5,5")
    if kind == "no checkpoint":
        return seal(path, lines[0], b"# []\n")
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-200],
            "a row less": b"".join([*lines[:4], *lines[5:]]),
            "a digit": content.replace(b"0000-0,0,5", b"0000-0,0,6"),
            "another checkpoint": content.replace(b'"one"', b'"two"'),
            "no seal": b"".join(lines[:-1]),
            "a record": (path.parents[1] / "images" / "0000-0.csv").read_bytes(),
            "not text": b"\xff\xfe" + content,
        }[kind]
    )
    return None


CUT = ("empty", "cut", "a row less", "a digit", "another checkpoint", "no seal", "not text")
FOREIGN = ("foreign columns", "a column more", "no checkpoint", "a record")


@pytest.mark.parametrize("kind", [*CUT, *FOREIGN])
def test_a_cut_edited_or_foreign_file_is_refused_everywhere(tmp_path: Path, kind: str) -> None:
    run = write(tmp_path)
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    whole = path.read_bytes()
    damage(path, kind)
    before = state(run.folder)
    for message in (refusal(rescore, run, "brightness", Brightness(), {}), refusal(build, tmp_path)):
        assert f"{path} is {'cut or edited' if kind in CUT else 'foreign'}" in message
        assert ("remove it" if kind in CUT else "move it away") in message and "score again" in message
    assert state(run.folder) == before and not (tmp_path / "tables").exists()
    path.unlink()
    rescore(run, "brightness", Brightness(), {})  # the advice works
    assert path.read_bytes() == whole


def test_another_runs_file_and_a_copy_under_another_name_are_foreign(tmp_path: Path) -> None:
    run, other = write(tmp_path), write(tmp_path, "mpgr")
    rescore(run, "brightness", Brightness(), {})
    path = run.folder / "scores" / "brightness.csv"
    stolen = other.folder / "scores" / path.name
    stolen.parent.mkdir()
    shutil.copy(path, stolen)
    assert f"{stolen} is foreign: it does not hold brightness of {other.folder.name}" in refusal(scores.read, other)
    twin = path.with_stem("brightness (1)")
    shutil.copy(path, twin)
    assert f"{twin} is foreign" in refusal(scores.read, run)


def test_the_script_says_what_is_wrong_and_does_the_other_runs(tmp_path: Path, script: Callable[..., Any]) -> None:
    recorded_there = write(tmp_path, rewards=config("ours")["rewards"] | {"shapes_aesthetic": {}})
    run = write(tmp_path, "mpgr")
    for arguments, fragment in [
        (["nothing", run.folder], "nothing"),
        (["shapes", run.folder], "shapes"),
        (["shapes_aesthetic", tmp_path], "is it a run?"),
        (["shapes_aesthetic", "rewards.shapes_aesthetic.size=3"], "no run given"),
        (["shapes_aesthetic", run.folder, "rewards.shapes_aesthetic.size=3"], "shapes_aesthetic.size"),
        (["shapes_aesthetic", run.folder, "--batch", "0"], "at least 1"),
        (["shapes_aesthetic", run.folder, "--config-dir", tmp_path / "nowhere"], "no folder"),
    ]:
        code, out, error = script(*arguments)
        assert (code, out) == (2, "") and fragment in error.splitlines()[-1]
    code, out, error = script("shapes_aesthetic", recorded_there.folder, run.folder, "--batch", "4")
    assert code == 2 and "shapes_aesthetic in its records" in error
    assert out == f"{run.folder}: 9 images scored\n"
    code, out, _ = script("shapes_aesthetic", run.folder)
    assert (code, out) == (0, f"{run.folder}: 0 images scored\n")


# --- the table


def give(run: Run, reward: str, values: Any, weights: str = "1", **settings: Any) -> dict[str, tuple[float, float]]:
    """Add ``values`` (start, kept per image, in order of name), as ``config`` of test_report would name the reward."""
    checkpoint = {"weights": {"weights.safetensors": f"{reward} {weights}"}, "settings": {"size": 32} | settings}
    pairs = {image: (float(a), float(b)) for image, (a, b) in zip(sorted(run.done()), values, strict=True)}
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
    run.pack()
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
    panels = {panel.get_ylabel(): panel for panel in plots._figure(comparison).axes}
    assert list(panels) == ["matcher", "dual", "later"]
    curves = {line.get_label(): line.get_xydata() for line in panels["later"].lines}
    for method in ("ours", "mpgr"):
        drawn = np.asarray(curves[method])
        assert drawn.shape == (2, 2)
        assert drawn[:, 1] == pytest.approx(later(method).mean(0), rel=1e-5)
    assert len(np.asarray({line.get_label(): line.get_xydata() for line in panels["dual"].lines}["ours"])) == 9
    for kind in ("png", "svg"):
        assert (tabled / "plots" / f"pareto-shapes-aesthetic-common.{kind}").stat().st_size > 1000


def test_the_summary_of_a_run_has_it(tabled: Path) -> None:
    for folder in (tabled / "runs").iterdir():
        values = later(folder.name.split("-")[1]).mean(0)
        assert f"| later {values[0]:.4g} -> {values[1]:.4g} |" in summary(folder)


def test_images_without_a_score_are_named_and_the_advice_works(tmp_path: Path, script: Callable[..., Any]) -> None:
    run = write(tmp_path, "ours", 1)
    rescore(run, "shapes_aesthetic", *edge.compose_reward("shapes_aesthetic", []))
    write(tmp_path)
    message = refusal(build, tmp_path)
    assert "shapes_aesthetic.csv lacks 6 of 9 images (0000-1)" in message
    _, file, *arguments = shlex.split(message.split("finish it: ")[1])
    assert file == "scripts/rescore.py"
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


# --- which rewards are scored when only the target is named


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A rewards folder with two sets of three and one loner."""
    files = {name: f"# @package rewards.{name}\n_target_: somewhere.{name}\n" for name in "abcdefx"}
    files |= {"big": "defaults:\n  - a\n  - b\n  - c\n", "small": "# why\ndefaults:\n  - d\n  - e\n  - f\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("reward=a", "big"),
        ("reward=e", "small"),
        ("reward='e'", "small"),
        ('reward="e"', "small"),
        ("+reward=e", "small"),
        ("++reward=e", "small"),
        ("reward={a: 1, b: 2}", "big"),
        ("reward={a:5,b:1e-3}", "big"),
        ("reward={d: -1.5e+2, f: .1}", "small"),
        ("reward={'d': 1}", "small"),
        ("reward=d,e", "small"),
        ("reward=choice(d,e)", "small"),
        ("reward={d: 1, nothing: 2}", "small"),
        ("reward=a,e", None),
        ("reward={a: 1, e: 2}", None),
        ("reward=x", None),
        ("reward=nothing", None),
        ("reward=", None),
        ("reward=3", None),
        ("reward=null", None),
        ("reward.a=1", None),
    ],
)
def test_the_set_that_has_the_target_is_scored(sets: Path, target: str, found: str | None) -> None:
    chosen = [f"rewards={found}"] if found else []
    for others in ([], ["steps=3"], ["rewards.a.size=3"], ["+rewards.a.size=3"], ["-m"], ["model=flux", "seeds=2"]):
        arguments = inputs.choose_rewards([*others, target], sets)
        assert sorted(arguments) == sorted([*others, target, *chosen])
        assert [one for one in arguments if one not in chosen] == [*others, target]


@pytest.mark.parametrize("said", ["rewards=big", "rewards=[a,e]", "+rewards=x", "rewards=", "rewards='big'"])
def test_what_is_said_to_be_scored_stays(sets: Path, said: str) -> None:
    for arguments in ([said, "reward=e"], ["reward=e", "rewards.e.size=1", said], [said]):
        assert inputs.choose_rewards(arguments, sets) == arguments


@pytest.mark.parametrize("arguments", [[], ["--help"], ["rewards.e.size=1"], ["method=ours", "-m"]])
def test_without_a_target_nothing_is_chosen(sets: Path, arguments: list[str]) -> None:
    assert inputs.choose_rewards(arguments, sets) == arguments


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("shapes_rendering", "shapes"),
        ("hpsv2", "paper"),
        ("{hpsv2: 5e0, imagereward: 1e-3}", "paper"),
        ("clip", "reno"),
    ],
)
def test_the_sets_of_this_project(target: str, found: str | None) -> None:
    chosen = inputs.choose_rewards([f"reward={target}"], CONFIGS / "rewards")
    assert set(chosen) - {f"reward={target}"} == ({f"rewards={found}"} if found else set())


@pytest.mark.parametrize("after", [["--cfg", "job"], ["-c", "job"], ["--cfg=job", "--resolve"]])
def test_options_after_the_target_are_still_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["gradproj-run", "steps=3", "reward=hpsv2", *after])
    with pytest.raises(SystemExit) as end:
        edge.main()
    assert end.value.code == 0
    assert "pickscore:" in capsys.readouterr().out


# --- a third party's reward: docs/rewards.md and its example


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "rewards.md").read_text(), re.DOTALL)


def test_the_page_shows_the_very_files() -> None:
    assert blocks("python")[0] == (EXAMPLE / "named_colour.py").read_text()
    assert blocks("yaml") == [(EXAMPLE / "rewards" / "named_colour.yaml").read_text()]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's module, found as a person's own module is."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import named_colour  # type: ignore[import-not-found]

    yield named_colour
    sys.modules.pop("named_colour")


def test_the_pages_own_check_holds(example: Any) -> None:
    exec(blocks("python")[1], {})


@pytest.mark.parametrize("size", [(32, 32), (48, 64)], ids=str)
def test_the_example_keeps_the_contract(example: Any, size: tuple[int, int]) -> None:
    reward, prompts = example.NamedColour(width=0.5), ["a red ring", "a blue square", "a white circle"]
    image = contract_pictures(*size)
    text = reward.encode(prompts)
    value = reward(image, text)
    assert value.shape == (3,) and value.dtype == torch.float32
    for i in range(3):
        alone = reward(image[i : i + 1], reward.encode(prompts[i : i + 1]))
        torch.testing.assert_close(value[i : i + 1], alone)
    slope, difference = directional(lambda one: reward(one, text).sum(), image.double(), 1)
    assert slope == pytest.approx(difference, rel=1e-5) != 0
    official, levels = to_8_bit(image)
    given = reward.score([official[0], official[1], official[2].resize((9, 7))], prompts)
    assert given.device.type == "cpu" and given.dtype == torch.float32 and not given.requires_grad
    torch.testing.assert_close(given[:2], reward(levels, text)[:2])
    grey = official[0].convert("L")
    modes = [reward.score([grey.convert(mode)], prompts[:1]) for mode in ("L", "RGB", "RGBA")]
    assert torch.equal(modes[0], modes[1]) and torch.equal(modes[0], modes[2])


def test_the_example_measures_what_it_says(example: Any) -> None:
    reward = example.NamedColour(width=0.5)
    half = Pillow.new("RGB", (8, 8), (255, 0, 0))
    half.paste((0, 0, 255), (0, 0, 8, 4))
    given = reward.score([half, half, half], ["a red ring", "a blue ring", "the red of a blue sky"]).tolist()
    assert given == pytest.approx([(1 + np.exp(-2 / 0.5)) / 2] * 3, rel=1e-5)
    with pytest.raises(ValueError, match="'a ring' names no colour"):
        reward.encode(["a red ring", "a ring"])
    assert reward.weights == {"named_colour.py": hashlib.sha256((EXAMPLE / "named_colour.py").read_bytes()).hexdigest()}


def test_the_pages_commands_work_in_another_folder_without_a_change_in_gradproj(
    tmp_path: Path, script: Callable[..., Any], example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Climbed, held out after the run, and given to an old run: the last two agree."""
    shutil.copytree(EXAMPLE, tmp_path / "example_reward")
    shown = [shlex.split(line) for line in "".join(blocks("sh")).splitlines() if line and line[0] != "#"]
    assert shown[0] == ["export", "PYTHONPATH=example_reward"]
    climbed, _, _, held_out, again = shown[1:]
    small = ['prompts=["a red ring"]', "steps=3"]
    environment = os.environ | {"PYTHONPATH": "example_reward", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def do(command: Sequence[str], results: str, *more: str) -> Run:
        assert command[0] == "gradproj-run"
        arguments = [str(COMMAND), *command[1:], *small, f"results={results}", *more]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / results / "runs").iterdir()
        return Run.open(folder)

    run = do(climbed, "climbed")
    start, kept = recorded(run, "named_colour")["0000-0"]
    assert kept > start
    assert run.config["rewards"]["named_colour"] == {"_target_": "named_colour.NamedColour", "width": 0.5}
    given = scores.read(do(held_out, "after", "held_out=after"))["named_colour"]
    assert given.values["0000-0"][0] == pytest.approx(start, rel=1e-5)
    old = launch(tmp_path / "old", *small, "reward=shapes_matcher", "rewards=[shapes_matcher]", "seeds=1")
    monkeypatch.chdir(tmp_path)
    assert again[:2] == ["python", "scripts/rescore.py"] and again[-1] == "results/runs/*"
    assert script(*again[2:-1], old.folder)[0] == 0
    assert scores.read(old)["named_colour"].checkpoint == given.checkpoint
    assert scores.read(old)["named_colour"].values["0000-0"][0] == pytest.approx(start, rel=1e-5)
    build(tmp_path / "old")
    assert "named_colour" in table(tmp_path / "old").columns


@pytest.mark.parametrize("place", [2, 3])
def test_the_pages_other_commands_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    """A setting of its own, and a mix."""
    shutil.copytree(EXAMPLE, tmp_path / "example_reward")
    command = [shlex.split(line) for line in "".join(blocks("sh")).splitlines() if line and line[0] != "#"][place]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*command, "--cfg", "job"])
    with pytest.raises(SystemExit) as end:
        edge.main()
    assert end.value.code == 0
    expected = "width: 0.3" if place == 2 else "named_colour: 0.2"
    assert expected in capsys.readouterr().out
