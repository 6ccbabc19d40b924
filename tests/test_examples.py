"""The examples run, on small weights, and do what they say."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from tiny import models as tiny

from gradproj.methods import ours
from gradproj.models.shapes import Shapes
from gradproj.noise import generator, initial_latent
from gradproj.optimize import optimize
from gradproj.rewards.shapes_matcher import ShapesMatcher

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMPTS = ["a red ring", "a blue square and a white circle"]


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example of the test's parameter, as a module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield import_module(request.param)
    sys.modules.pop(request.param)


@pytest.mark.parametrize("example", ["plain_loop"], indirect=True)
def test_the_loop_of_ones_own_climbs_as_the_method_does(example: Any) -> None:
    start = initial_latent((3, 32, 32), [(0, 0), (1, 0)])
    before = start.clone()
    latent, rewards = example.climb(start, PROMPTS, steps=5)
    assert torch.equal(start, before), "it is the caller's"
    model, reward = Shapes(), ShapesMatcher()
    method = ours.method(lambda given: torch.optim.Adam(given, lr=0.02), 1e9, 16, True, True)
    rng = [generator("method", prompt, 0) for prompt in range(2)]
    steps = list(optimize(model, reward, method, model.encode(PROMPTS), reward.encode(PROMPTS), start, 5, rng))
    assert rewards == pytest.approx([step.reward.mean().item() for step in steps[:-1]], rel=1e-3)
    torch.testing.assert_close(latent, steps[-1].latent, rtol=0, atol=1e-2)
    torch.testing.assert_close(latent.flatten(1).square().sum(1), torch.full((2,), 3072.0))
    assert rewards[-1] > rewards[0]


@pytest.mark.parametrize("example", ["own_reward"], indirect=True)
def test_the_reward_of_ones_own_is_climbed_and_measures_what_it_says(example: Any) -> None:
    pictures = example.main()
    assert sum(made.scores["Mirror"][1] - made.scores["Mirror"][0] for made in pictures) > 0.01  # one began as a mirror
    for made in pictures:
        start, kept = made.scores["Mirror"]
        for picture, score in ((made.start, start), (made.kept, kept)):
            levels = np.asarray(picture).astype(float) / 255
            assert score == pytest.approx(-np.abs(levels - levels[:, ::-1]).mean(), rel=1e-4)


@pytest.mark.parametrize("example", ["diffusers_pipeline"], indirect=True)
def test_the_noise_that_was_improved_makes_the_same_picture_in_the_pipeline(
    example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    mirror = import_module("own_reward").Mirror()
    folder = tiny.folder("sd_turbo-plain")
    source = {"source.repo": folder, "source.variant": "null", "source.cache": tmp_path, "resolution": 16}
    overrides = [f"model.{key}={value}" for key, value in {**source, "dtype": "float32"}.items()]
    answers: list[Any] = []
    improve = example.gradproj.improve

    def noted(*given: Any, **told: Any) -> Any:
        answers.append(improve(*given, **told))
        return answers[-1]

    monkeypatch.setattr(example.gradproj, "improve", noted, raising=False)
    noise = example.improved_noise("a fox", reward=mirror, steps=3, device="cpu", overrides=overrides)
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    one, more = (np.asarray(picture).astype(int) for picture in example.pictures(pipeline, "a fox", noise, (1, 3)))
    kept, start = (np.asarray(picture).astype(int) for picture in (answers[0][0].kept, answers[0][0].start))
    assert noise.shape == (1, 4, 8, 8) and np.abs(one - kept).max() <= 1 and np.abs(kept - start).max() > 1
    assert more.shape == one.shape and np.abs(more - one).max() > 1
