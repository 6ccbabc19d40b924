"""Scores given afterwards: the numbers that the records would hold, kept whole."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CONFIGS, names_of
from hydra import compose, initialize_config_dir
from made_up import SEEDS
from scored import ALL, LATER, ROOT, TARGET, Brightness, expected, launch, recorded, refusal, rows, same, state, write

from gradproj.execution.rescore import rescore
from gradproj.execution.settings import keys
from gradproj.execution.settings.compose import compose_reward
from gradproj.report import summary
from gradproj.report.build import build
from gradproj.runs import scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import pack, unpack
from gradproj.runs.scores import Scores


@pytest.fixture(scope="module", params=["last", "best"])
def three_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """One experiment: all scored on the way, only the target scored, and ``held_out=after``."""
    folder = tmp_path_factory.mktemp(request.param)
    keep = f"keep={request.param}"
    during = launch(folder / "during", ALL, keep)
    return during, launch(folder / "target", TARGET, keep), launch(folder / "after", ALL, keep, "held_out=after")


def test_the_experiment_tells_keep_best_from_keep_last(three_ways: tuple[Run, Run, Run]) -> None:
    steps = [rows(three_ways[0], image) for image in sorted(three_ways[0].recorded())]
    assert any(max(one, key=lambda step: float(step["reward"])) is not one[-1] for one in steps)


@pytest.mark.parametrize("reward", LATER)
def test_scores_given_afterwards_are_those_that_the_records_would_hold(
    three_ways: tuple[Run, Run, Run], reward: str
) -> None:
    during, target, after = three_ways
    made, settings = compose_reward(reward, [])
    missing = target.recorded() - scores.read(target).get(reward, Scores({}, {})).values.keys()
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
            assert scores.read(run)[reward].values.keys() == run.recorded()
    assert names_of(run) == names_of(whole)
    for reward in LATER:
        same(scores.read(run)[reward].values, scores.read(whole)[reward].values, 1e-3)  # another batch rounds otherwise


def test_new_seeds_that_are_not_scored_yet_do_not_stop_a_run(tmp_path: Path) -> None:
    run = launch(tmp_path, TARGET, "seeds=1")
    rescore(run, "shapes_heldout", *compose_reward("shapes_heldout", []))
    launch(tmp_path, TARGET, "seeds=2")
    assert "shapes_heldout" not in summary(run.folder)
    (line,) = build(tmp_path).left_out
    assert line.startswith("shapes_heldout in ") and "2 of 4 images have no score of it as yet" in line


@pytest.mark.parametrize("mix", ["{shapes_matcher: 1, shapes_aesthetic: 2}", "shapes_matcher"])
def test_every_part_of_the_target_is_recorded_and_the_others_scored_after(tmp_path: Path, mix: str) -> None:
    run = launch(tmp_path, ALL, "held_out=after", f"reward={mix}", "steps=1", "seeds=1")
    climbed = sorted(set(re.findall("shapes_[a-z]+", mix)))
    assert sorted(run.config["rewards"]) == climbed
    assert sorted([*climbed, *scores.read(run)]) == ["shapes_aesthetic", *LATER]


@pytest.mark.parametrize("bad", ["before", "null", "1"])
def test_an_unknown_moment_is_refused(bad: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        message = refusal(keys.check, compose("config", [f"held_out={bad}"]))
    assert "auto, during, cpu or after" in message and "type held_out=auto" in message


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
    assert [line.split(",")[0] for line in lines[2:-1]] == sorted(map(str, expected()))


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
    scores.add(
        run, "brightness", Scores({"weights": again.weights, "settings": {"size": 1}}, {ImageId(0, 0): (7.0, 7.0)})
    )
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
        "import sys; from pathlib import Path\n"
        "from gradproj.runs import scores; from gradproj.runs.folder import Run\n"
        "from gradproj.runs.naming import ImageId\n"
        "run, own = Run.open(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for i in range(30): scores.add(run, 'brightness', scores.Scores({}, {ImageId(i, own): (i, own)}))"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    workers = [subprocess.Popen([*command, str(own)], env=os.environ | {"PYTHONPATH": str(ROOT)}) for own in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert scores.read(run)["brightness"].values == {ImageId(i, own): (i, own) for i in range(30) for own in range(3)}


@pytest.mark.parametrize("loose", [0, 1])
def test_a_packed_run_is_scored_from_its_pictures(tmp_path: Path, loose: int) -> None:
    run = write(tmp_path, "ours", SEEDS - loose)
    pack(run)
    write(tmp_path)
    if not loose:
        pack(run)
        assert not list(run.images.glob("*.csv"))
    assert rescore(run, "brightness", Brightness(), {}) == 9
    assert scores.read(run)["brightness"].values == expected()
    pack(run)
    unpack(run)
    assert scores.read(run)["brightness"].values == expected()
