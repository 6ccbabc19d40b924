"""``gradproj.improve``: the same pictures as the command's, objects in place of names, what it shows and refuses."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
import tqdm.notebook
from conftest import Gradproj
from fakes import IMAGES, Model, Red, experiment, new_run, saved, sgd
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from packaging.version import Version
from torch import Tensor

from gradproj.errors import Incomplete, UserError
from gradproj.execution import batches, display, worker
from gradproj.execution.destination import Records
from gradproj.execution.improve import improve
from gradproj.execution.settings.compose import compose_run
from gradproj.models.shapes import Shapes
from gradproj.rewards.shapes_matcher import ShapesMatcher
from gradproj.runs import environment
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

PROMPTS = ["a red ring", "a blue square and a white circle"]
HOSTILE = [
    '<script>alert("1")</script> & <b>it\'s</b>',
    "two\nlines, a\ttab, ../../etc/passwd \\ \\'",
    "${oc.env:HOME} 🟥 赤い輪 = [a, {b: c}]",
]
SCORED = ["shapes_matcher", "shapes_heldout"]
SMALL: dict[str, Any] = {"reward": "shapes_matcher", "rewards": SCORED, "steps": 3, "seeds": 2}
TYPED = ("reward=shapes_matcher", "rewards=[shapes_matcher,shapes_heldout]", "steps=3", "seeds=2")
TYPED += ("prompts=[a red ring,a blue square and a white circle]",)


@pytest.fixture
def command(gradproj: Gradproj, tmp_path: Path) -> Run:
    """The records of the command."""
    code, _, err = gradproj("run", *TYPED, f"results={tmp_path}/command")
    assert code == 0, err
    (run,) = (tmp_path / "command" / "runs").iterdir()
    return Run.open(run)


def same_numbers(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"), check_exact=True)


def own(**changes: Any) -> Any:
    """The run of the fakes without names or files."""
    given: dict[str, Any] = {"model": Model(), "reward": Red(), "method": sgd(20.0), "rewards": [Red(), fakes.Target()]}
    given |= {"steps": 7, "overrides": ["score_every=3", "max_skips=2"]} | changes
    given["rewards"] = [given["reward"], *given["rewards"][1:]]
    return improve(given.pop("prompts", fakes.PROMPTS), **given)


# --- the same path


def test_it_makes_what_the_command_records_to_the_last_bit_and_writes_nothing(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = improve(PROMPTS, **SMALL)
    assert [(one.prompt, one.seed) for one in made] == [(prompt, seed) for prompt in PROMPTS for seed in (0, 1)]
    for one, image in zip(made, sorted(command.recorded()), strict=True):
        recorded = command.table(image)
        same_numbers(one.trajectory, recorded)
        assert one.scores == {name: (recorded[name][0], recorded[name][3]) for name in command.config["rewards"]}
        for picture, path in ((one.start, command.start(image)), (one.kept, command.kept(image))):
            assert np.array_equal(np.asarray(picture), saved(path))
    assert [path.name for path in tmp_path.iterdir()] == ["command"]


def test_with_results_the_same_run_is_written_and_the_command_finds_it_done(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradproj: Gradproj
) -> None:
    monkeypatch.setenv(environment.COMMAND, '["before"]')
    saving = {**SMALL, "results": tmp_path / "my results", "overrides": ["save=[picture,latent]"]}
    first = improve(PROMPTS, **saving)
    assert os.environ[environment.COMMAND] == '["before"]'
    (folder,) = (tmp_path / "my results" / "runs").iterdir()
    run = Run.open(folder)
    assert (run.folder.name, run.config) == (command.folder.name, command.config)
    for image in command.recorded():
        same_numbers(run.table(image), command.table(image))
        assert run.kept(image).read_bytes() == command.kept(image).read_bytes()
    again = improve(PROMPTS, **saving)
    for one, two in zip(first, again, strict=True):
        assert one.trajectory.equals(two.trajectory) and one.scores == two.scores and one.step == two.step
        assert one.kept.tobytes() == two.kept.tobytes() and two.latent is not None
        assert one.latent is not None and torch.equal(one.latent, two.latent)
    typed = json.loads((run.folder / "env.json").read_text())["command"]
    _, out, err = gradproj("run", *typed[1:])
    assert "0 to do" in out and len(list(folder.parent.iterdir())) == 1, err


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_latent_makes_the_kept_picture(keep: str) -> None:
    climb: dict[str, Any] = {"reward": fakes.Target(), "rewards": [], "method": sgd(2.0, 0.5)}
    made = own(**climb, steps=11, overrides=[f"keep={keep}"])
    inner = 0
    for one in made:
        assert one.latent is not None and one.latent.shape == fakes.SHAPE and one.latent.dtype == torch.float32
        expected = (one.latent.double().sigmoid().permute(1, 2, 0).numpy() * 255).round()
        assert np.abs(np.asarray(one.kept).astype(int) - expected).max() <= 1
        assert one.step == (np.argmax(one.trajectory["reward"]) if keep == "best" else 11)
        inner += 0 < one.step < 11
    assert (inner > 0) == (keep == "best")


def test_objects_give_what_the_batches_record_of_them(tmp_path: Path) -> None:
    rewards = {"Red": Red(), "Target": fakes.Target()}
    told = experiment(rewards=rewards, target={"Red": 1.0})
    run = new_run(tmp_path, told)
    batches.complete(told, Records(run), IMAGES, 16)
    for one, image in zip(own(), IMAGES, strict=True):
        same_numbers(one.trajectory, run.table(image))
        assert np.array_equal(np.asarray(one.kept), saved(run.kept(image)))


def test_objects_of_gradproj_give_what_their_names_give() -> None:
    rest = {"method": "none", "steps": 2, "overrides": ["method.optimizer.lr=0.02"]}  # a part has no tuned rate
    named = improve(PROMPTS[0], reward="shapes_matcher", rewards=["shapes_matcher"], **rest)[0]
    adam = improve(PROMPTS[0], Shapes(), ShapesMatcher(), **rest)
    assert list(adam[0].scores) == ["ShapesMatcher"]
    assert adam[0].kept.tobytes() == named.kept.tobytes()
    assert adam[0].scores["ShapesMatcher"] == named.scores["shapes_matcher"]


def test_a_mix_of_a_name_and_an_object_is_climbed() -> None:
    mix = {"shapes_matcher": 0.5, "Red": 2.0}
    (made,) = improve(PROMPTS[0], reward=mix, rewards=["shapes_matcher", Red()], steps=1)
    alone = [improve(PROMPTS[0], reward=one, steps=1)[0] for one in ("shapes_matcher", Red())]
    whole, *parts = (one.trajectory["reward"].to_numpy()[0] for one in (made, *alone))
    assert whole == pytest.approx(0.5 * parts[0] + 2 * parts[1], rel=1e-5)


def test_a_reward_held_out_until_the_end_scores_the_same(tmp_path: Path) -> None:
    during, after = (improve(PROMPTS, **SMALL, overrides=[f"held_out={when}"]) for when in ("during", "after"))
    written = improve(PROMPTS, **SMALL, overrides=["held_out=after"], results=tmp_path)
    for one, two, three in zip(during, after, written, strict=True):
        assert set(one.scores) == set(two.scores) and "shapes_heldout" not in two.trajectory
        for name, pair in one.scores.items():
            assert two.scores[name] == pytest.approx(pair, rel=1e-4, abs=1e-6)
            assert three.scores[name] == pytest.approx(pair, rel=1e-4, abs=1e-6)


def test_a_path_is_a_file_of_prompts_and_a_text_is_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a red ring\na blue ring\n")
    made = improve(tmp_path / "mine.txt", reward="shapes_matcher", rewards=["shapes_matcher"], steps=1, seeds=[4])
    assert [(one.prompt, one.seed) for one in made] == [("a red ring", 4), ("a blue ring", 4)]
    with pytest.raises(UserError, match="cannot read the prompt 'shapes_demo'"):
        improve("shapes_demo")


def test_the_callback_sees_every_step_and_what_it_raises_comes_through() -> None:
    seen: list[tuple[Sequence[ImageId], int, Tensor]] = []
    made = own(callback=lambda images, step: seen.append((images, step.index, step.reward)))
    assert [index for _, index, _ in seen] == list(range(8)) and all(images == IMAGES for images, _, _ in seen)
    rewards = torch.stack([reward for *_, reward in seen]).T
    for row, one in zip(rewards, made, strict=True):
        assert one.trajectory["reward"].tolist() == pytest.approx(row.tolist(), rel=1e-5)

    def stop(*_: Any) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        own(callback=stop)


def test_what_fails_is_left_out_and_said() -> None:
    with pytest.warns(UserWarning, match=r"1 pictures failed and are left out: 0002-0: no usable gradient"):
        made = own(model=Model("gradient"))
    assert [one.prompt for one in made] == ["one", "two", "four"] and "gradient" in made.failed["0002-0"]
    assert "0002-0 failed: no usable gradient" in made._repr_html_()
    with pytest.raises(Incomplete, match="no picture came to a usable end: 0000-0"):
        own(model=Model("gradient"), prompts=["bad"])


# --- what a caller's own program keeps


def test_hydra_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, base = object(), VersionBase.instance().version_base
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", mine)
    VersionBase.instance().version_base = marker = Version("1.2")
    state = GlobalHydra.instance()
    try:
        for model in ("shapes", "nothing"):
            try:
                own(model=model, prompts=PROMPTS[:1], steps=1)
            except UserError:
                assert model == "nothing"
            assert GlobalHydra.instance() is state and state.hydra is mine
            assert VersionBase.instance().version_base is marker
    finally:
        VersionBase.instance().version_base = base
    threads = torch.get_num_threads()
    improve(PROMPTS[0], rewards=["shapes_aesthetic"], steps=1, overrides=[f"threads={threads + 1}"])
    assert torch.get_num_threads() == threads


def test_importing_gradproj_imports_nothing_heavy() -> None:
    code = "import sys, gradproj; sys.exit(any(name in sys.modules for name in ('torch', 'hydra', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what a notebook shows


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_prompts_are_text_in_what_is_shown_and_stay_as_they_are() -> None:
    made = own(prompts=HOSTILE)
    assert [one.prompt for one in made] == HOSTILE
    page = Page(made._repr_html_())
    assert {tag for tag, _ in page.tags} == {"table", "tr", "td", "i", "img", "br", "svg", "title", "polyline"}
    for prompt in HOSTILE:
        assert prompt in page.text
    pictures = [told["src"] for tag, told in page.tags if tag == "img"]
    assert len(pictures) == 6 and all(re.fullmatch(r"data:image/png;base64,[\w+/=]+", one or "") for one in pictures)
    assert len(Page(made[0]._repr_html_()).tags) < len(page.tags)


def test_the_curve_is_the_reward_over_the_steps() -> None:
    (made, *_) = own()
    points = np.array([[float(number) for number in pair.split(",")] for pair in made.points().split()])
    assert len(points) == 8 and np.allclose(np.diff(points[:, 0]), np.diff(points[:, 0])[0], atol=0.11)
    assert np.corrcoef(points[:, 1], made.trajectory["reward"])[0, 1] == pytest.approx(-1, abs=1e-3)


def test_prompts_with_anything_in_them_come_into_the_command_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(worker, "complete", lambda *given: told.append((given, environment.typed())) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        improve(HOSTILE, reward="shapes_matcher", results="it's")
    ((settings, texts, *_), typed) = told[0]
    assert settings["prompts"] == texts == HOSTILE and settings["results"] == "it's"
    again, _ = compose_run(typed[1:])
    assert again["prompts"] == HOSTILE


def test_a_notebook_has_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``tqdm.auto`` chooses: its bars for a notebook are not hidden where there is no terminal."""
    assert display.HIDDEN is None
    monkeypatch.setattr("tqdm.auto.tqdm", tqdm.notebook.tqdm)
    assert runpy.run_path(display.__file__)["HIDDEN"] is False


# --- errors

REFUSED = {
    "'a cat'": "model cannot read a prompt: the miniature (model=shapes) cannot read the prompt 'a cat'",
    "[]": "prompts=[...] holds no prompt",
    "['a red ring', ' ']": "prompt 2 is blank",
    "['a red ring', 3]": "prompts must be a text, a list of texts or the Path of a file, got 3",
    "3": "prompts must be a text",
    "Path('nowhere.txt')": "no such set or readable file",
    "P, model='fluxx'": "model=fluxx: no such choice: did you mean flux?",
    "P, model=3": "model must be the name of a YAML file (gradproj list) or an object as gradproj.types.Model",
    "P, method=None": "method must be the name of a YAML file",
    "P, method='ors'": "did you mean ours?",
    "P, reward='shapes_matchr'": "reward=shapes_matchr is not among what is scored: did you mean shapes_matcher?",
    "P, reward=3": "a reward must be the name of a YAML file (gradproj list), a mix or an object",
    "P, reward=Bright": "a reward must be the name of a YAML file",
    "P, reward=reward()": "'reward' cannot be a column: rename the class",
    "P, reward=Bright(), rewards=[Bright()]": "two rewards are called Bright",
    "P, reward='Flat', rewards=[Flat()]": "reward=Flat has no differentiable form",
    "P, reward={'shapes_matcher': float('nan')}": "reward must be a name or a mix",
    "P, reward=Bright(), results='r'": "give Bright a YAML file (docs/rewards.md shows one), or leave out results",
    "P, steps=0": "steps must be a whole number, at least 1, got 0: type steps=1",
    "P, steps=1.5": "steps must be a whole number",
    "P, seeds=[]": "seeds must be a number or a list of different seeds",
    "P, seeds=[1, 1]": "seeds must be",
    "P, seeds=1.5": "seeds must be",
    "P, device='gpu'": "device must be auto, cpu, cuda or a GPU",
    "P, results=''": "results must be a folder",
    "P, overrides=['nothing=1']": "there is no key nothing",
    "P, overrides=['prompts=shapes_demo']": "prompts and results are arguments of improve",
    "P, overrides=['+sweep=main']": "options, sweeps and launchers are for the command",
    "P, overrides=['-m']": "options, sweeps and launchers are for the command",
    "P, overrides=['method=none,ours']": "method=none,ours",
    "P, overrides=['hydra/launcher=local']": "options, sweeps and launchers are for the command",
    "P, overrides=3": "overrides must be a list, got 3: type overrides=[...]",
    "P, rewards=Bright()": "rewards must be a list, got",
    "P, callback=3": "callback must be a function that takes (images, step), got 3",
    "P, overrides='batch=0'": "batch must be a whole number, at least 1",
}
DRIVER = """
import json, sys
from pathlib import Path
import torch, gradproj
from gradproj.errors import UserError

P = "a red ring"
class Flat:
    weights = {}
    def score(self, pictures, prompts): return torch.zeros(len(pictures))
class Bright(Flat):
    def encode(self, prompts): return None
    def __call__(self, image, text): return image.mean((1, 2, 3))
class reward(Bright): pass

said = {}
for call in json.loads(sys.argv[1]):
    try:
        said[call] = repr(eval(f"gradproj.improve({call})"))
    except UserError as error:
        said[call] = f"UserError {error}"
print(json.dumps(said))
"""


def test_what_does_not_fit_is_a_line_and_leaves_nothing(tmp_path: Path) -> None:
    """In a process whose annotations are not checked, as a person's own."""
    command = [sys.executable, "-c", DRIVER, json.dumps(list(REFUSED))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    wrong = {call: said[call] for call, words in REFUSED.items() if words not in said[call]}
    assert not wrong
    assert all(text.startswith("UserError ") and "\n" not in text for text in said.values())
    assert not list(tmp_path.iterdir())
