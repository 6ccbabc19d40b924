"""What every model, reward and method under configs/ promises, whatever its weights; and that a lie is found."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import CONFIGS
from tiny import models as tiny
from tiny import rewards as tiny_rewards
from torch import Tensor

from gradproj.cli import check_reward
from gradproj.execution import contract
from gradproj.execution.contract import Broken
from gradproj.execution.settings import keys
from gradproj.execution.settings.parts import make
from gradproj.noise import initial_latent
from gradproj.types import Method, Model, Reward

PROMPTS = check_reward.PROMPTS
EXAMPLE = Path(__file__).parents[1] / "docs" / "example_reward"
AGREEMENT = partial(contract.check_agreement, gap=1e-4)  # nothing of these rewards is resized at 32 x 32


def names(group: str) -> list[str]:
    """The YAML files of a group that name a class or function, not a set of others."""
    files = sorted((CONFIGS / group).glob("*.yaml"))
    return [path.stem for path in files if "_target_" in str(yaml.safe_load(path.read_text()))]


MODELS, REWARDS, METHODS = names("model"), [*names("rewards"), "named_colour"], names("method")
ONLY_SCORED = {"shapes_heldout", "shapes_rendering"}  # they have no form to climb; every other reward has one


@pytest.fixture(scope="module")
def build() -> Callable[[str, str], Any]:
    """``build("model", "shapes")``: the object that the YAML describes; of published weights a tiny stand-in."""
    made: dict[tuple[str, str], Any] = {}

    def one(group: str, name: str) -> Any:
        if (group, name) not in made:
            made[group, name] = _build(group, name)
        return made[group, name]

    return one


def _build(group: str, name: str) -> Any:
    if name in tiny.BUILDERS:
        return tiny.build(f"{name}-plain")
    if name == "named_colour":
        sys.path.insert(0, str(EXAMPLE))
        settings = yaml.safe_load((EXAMPLE / "rewards" / "named_colour.yaml").read_text())
        return make(settings, name)
    settings = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    settings = settings["model"] if group == "model" else settings
    return make(tiny_rewards.changed(settings, tiny_rewards.files(name)) if "source" in settings else settings, name)


def test_something_of_every_group_is_found() -> None:
    assert {"shapes", "flux"} <= set(MODELS)
    assert {"shapes_aesthetic", "shapes_matcher", "shapes_heldout", "shapes_rendering", "aesthetic"} <= set(REWARDS)
    assert {"none", "reno", "prno", "mpgr", "intervals", "ours", "ours_gradient", "ours_latent", "planar"} <= set(
        METHODS
    )


@pytest.mark.parametrize("check", contract.MODEL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_its_promises(name: str, check: Callable[..., None], build: Any) -> None:
    model = build("model", name)
    assert isinstance(model, Model)
    check(model, PROMPTS)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_keeps_its_promises(name: str, build: Any) -> None:
    reward = build("rewards", name)
    assert callable(reward) == (name not in ONLY_SCORED), "name a reward without __call__ in ONLY_SCORED, no other"
    assert not callable(reward) or isinstance(reward, Reward)
    for check in contract.reward_checks(reward):
        check(reward, PROMPTS)
    if callable(reward):
        AGREEMENT(reward, PROMPTS)


# A reward and a model that keep every promise, and lies that break one


class Brightness:
    weights = {"formula": "1"}  # noqa: RUF012

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return image.square().mean(dim=(1, 2, 3))

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        levels = [torch.tensor(list(picture.convert("RGB").tobytes())) / 255 for picture in pictures]
        return torch.stack([level.square().mean() for level in levels])


def doubled(self: Any, image: Tensor, text: None) -> Tensor:
    """The right value, twice the gradient."""
    value = Brightness.__call__(self, image, text)
    return 2 * value - value.detach()


def score_of(change: Callable[[Tensor], Any]) -> Callable[..., Any]:
    return lambda self, pictures, prompts: change(Brightness.score(self, pictures, prompts))


def call_of(change: Callable[[Tensor], Any]) -> Callable[..., Any]:
    return lambda self, image, text: change(Brightness.__call__(self, image, text))


LIES: list[tuple[str, Any, Callable[..., None], str]] = [  # what is replaced, by what, the check that finds it, words
    ("weights", None, contract.check_weights, "weights must map"),
    ("weights", {"file": 3}, contract.check_weights, "weights must map"),
    ("score", score_of(lambda value: value.double()), contract.check_score, r"float32 \(3,\); got torch.float64"),
    ("score", score_of(lambda value: value[:, None]), contract.check_score, r"shape \(3, 1\)"),
    ("score", score_of(lambda value: value.tolist()), contract.check_score, "got list"),
    ("score", score_of(lambda value: value * torch.nan), contract.check_score, "finite"),
    ("score", score_of(lambda value: value.requires_grad_()), contract.check_score, "without gradient"),
    ("score", score_of(lambda value: value - value.mean()), contract.check_score, "in a batch what it gives it alone"),
    ("__call__", call_of(lambda value: value.sum()), contract.check_call, r"float32 \(3,\)"),
    ("__call__", call_of(lambda value: value.detach()), contract.check_call, "differentiable"),
    ("__call__", call_of(lambda value: value - value.mean()), contract.check_call, "zero|alone"),
    ("__call__", call_of(lambda value: value.sqrt() * 1e30 * 1e30), contract.check_call, "finite"),
    ("__call__", doubled, contract.check_gradient, "central differences; got a difference of 50%"),
    ("__call__", call_of(lambda value: -value), contract.check_agreement, "must agree"),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: f"{lie[0]} {lie[3]}")
def test_a_reward_that_lies_is_found(lie: tuple[str, Any, Callable[..., None], str]) -> None:
    name, value, check, words = lie
    check(Brightness(), PROMPTS)
    with pytest.raises(Broken, match=words):
        check(type("Liar", (Brightness,), {name: value})(), PROMPTS)


def test_a_reward_with_half_of_a_climbed_form_is_found() -> None:
    half = type("Half", (), {"weights": {}, "score": Brightness.score, "__call__": Brightness.__call__})()
    with pytest.raises(Broken, match="both be there, or neither; got __call__ alone"):
        contract.check_forms(half, PROMPTS)


class Identity:
    """A model whose picture is its latent, squeezed."""

    latent_shape, device, weights = (3, 8, 8), torch.device("cpu"), {}

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def generate(self, latent: Tensor, condition: None) -> Tensor:
        return latent.sigmoid()


MODEL_LIES: list[tuple[Callable[..., Tensor], Callable[..., None], str]] = [
    (lambda self, latent, _: latent, contract.check_picture, r"must lie in \[0, 1\]"),
    (lambda self, latent, _: latent.sigmoid().double(), contract.check_picture, "float64"),
    (lambda self, latent, _: torch.rand_like(latent), contract.check_picture, "same picture twice"),
    (lambda self, latent, _: latent.mul_(0.5).sigmoid(), contract.check_picture, "twice|as it is"),
    (lambda self, latent, _: (latent - latent.mean(0)).sigmoid(), contract.check_members, "members|zero"),
    (lambda self, latent, _: latent.detach().sigmoid() + 0 * latent, contract.check_members, "zero"),
]


@pytest.mark.parametrize("lie", MODEL_LIES, ids=lambda lie: lie[2])
def test_a_model_that_lies_is_found(lie: tuple[Callable[..., Tensor], Callable[..., None], str]) -> None:
    generate, check, words = lie
    check(Identity(), PROMPTS)
    with pytest.raises(Broken, match=words):
        check(type("Liar", (Identity,), {"generate": generate})(), PROMPTS)


def test_the_command_says_line_by_line_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    assert check_reward.main(["named_colour", "--config-dir", str(EXAMPLE)]) == 0
    assert "BROKEN" not in capsys.readouterr().out
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "liar.yaml").write_text("# @package rewards.liar\n_target_: liar_reward.Liar\n")
    (tmp_path / "liar_reward.py").write_text(
        "class Liar:\n    def score(self, pictures, prompts):\n        return [1.0]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check_reward.main(["liar", "--config-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "liar (liar_reward.Liar)" in said and "it can be scored, not climbed" in said
    assert "weights must map every file to its sha256 or revision; got None" in said and "got list" in said


# Methods


@pytest.mark.parametrize("protocol", ["common", "native"])
@pytest.mark.parametrize("name", METHODS)
def test_method_answers_what_it_was_asked_in_shape_and_dtype_and_changes_nothing(
    name: str, protocol: str, compose, generators
):
    method = make(keys.check(compose(f"method={name}", f"protocol={protocol}"))["method"], "method")
    assert isinstance(method, Method)
    latent, gradient = (
        initial_latent((3, 32, 32), [(0, 0), (1, 0)]),
        1e-6 * initial_latent((3, 32, 32), [(2, 0), (3, 0)]),
    )
    kept = latent.clone(), gradient.clone()
    ascent, retracted = method.direction(latent, gradient, generators(2)), method.retract(latent)
    for answer in (ascent, retracted):
        assert answer.shape == latent.shape
        assert answer.dtype == torch.float32
        assert not answer.requires_grad
        assert bool(answer.isfinite().all())
    assert torch.equal(latent, kept[0])
    assert torch.equal(gradient, kept[1])
    assert isinstance(method.optimizer([latent]), torch.optim.Optimizer)


@pytest.mark.parametrize("name", METHODS)
def test_method_climbs_when_its_gradient_is_all_there_is(name: str, compose, generators):
    """From likely noise and with a large reward gradient, no regulariser turns the ascent into a descent."""
    method = make(keys.check(compose(f"method={name}"))["method"], "method")
    latent, gradient = initial_latent((3, 32, 32), [(0, 0)]), initial_latent((3, 32, 32), [(2, 0)])
    assert float((method.direction(latent, gradient, generators(1)) * gradient).sum()) > 0
