"""What every model, reward and method under configs/ promises, whatever its weights."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tiny
import tiny_rewards
import torch
import yaml
from conftest import CONFIGS
from hydra.utils import instantiate
from PIL import Image as Pillow
from torch import Tensor

from gradproj.noise import initial_latent
from gradproj.types import Method

PROMPTS = ["a red ring", "a blue square and a white circle", "an orange cross and a black triangle"]
SIZES = [(32, 32), (48, 64), (128, 128)]


def names(group: str) -> list[str]:
    """The YAML files of a group that name a class or function, not a set of others."""
    files = sorted((CONFIGS / group).glob("*.yaml"))
    return [path.stem for path in files if "_target_" in str(yaml.safe_load(path.read_text()))]


MODELS, REWARDS, METHODS = names("model"), names("rewards"), names("method")


@pytest.fixture
def build(compose) -> Callable[[str, str], Any]:
    """``build("model", "shapes")``: the object that the YAML describes, new; of published weights a tiny stand-in."""

    def one(group: str, name: str) -> Any:
        if name in tiny.BUILDERS:
            return tiny.build(f"{name}-plain")
        stand_in = tiny_rewards.stand_in(name) if name in tiny_rewards.BUILDERS else ()
        config = compose(f"{group}={name}", *stand_in)[group]
        return instantiate(config[name] if group == "rewards" else config)

    return one


def pictures(height: int, width: int, count: int = 3) -> Tensor:
    """Smooth and noisy pictures away from 0 and 1, (count, 3, height, width)."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return 0.1 + 0.6 * smooth + 0.2 * torch.rand(count, 3, height, width, generator=generator)


def to_8_bit(images: Tensor) -> tuple[list[Pillow.Image], Tensor]:
    """PIL pictures and the same levels as float32 tensors."""
    levels = (images * 255).round().to(torch.uint8)
    return [Pillow.fromarray(one.permute(1, 2, 0).numpy()) for one in levels], levels.float() / 255


def directional(function: Callable[[Tensor], Tensor], at: Tensor, seed: int) -> tuple[float, float]:
    """The derivative of a scalar function along a random direction: by autograd and by central differences."""
    direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    h = 1e-6
    with torch.no_grad():
        difference = (function(at + h * direction) - function(at - h * direction)) / (2 * h)
    return float((gradient * direction).sum()), float(difference)


def test_something_of_every_group_is_found():
    assert {"shapes"} <= set(MODELS)
    assert {"shapes_aesthetic", "shapes_matcher", "shapes_heldout", "shapes_rendering"} <= set(REWARDS)
    assert {"none", "reno", "prno", "mpgr", "ours"} <= set(METHODS)


# Models


@pytest.mark.parametrize("name", MODELS)
def test_model_makes_float32_pictures_in_the_unit_range_and_says_what_it_is(name: str, build):
    model = build("model", name)
    latent = initial_latent(model.latent_shape, [(i, 0) for i in range(3)])
    image = model.generate(latent.to(model.device), model.encode(PROMPTS))
    assert image.dtype == torch.float32
    assert image.shape[:2] == (3, 3)
    assert image.ndim == 4
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert float(image.std()) > 0
    assert isinstance(model.device, torch.device)
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in model.weights.items())


@pytest.mark.parametrize("name", MODELS)
def test_model_is_differentiable_pure_and_repeats_itself(name: str, build):
    model = build("model", name)
    latent = initial_latent(model.latent_shape, [(i, 0) for i in range(3)]).to(model.device)
    before = latent.clone()
    condition = model.encode(PROMPTS)
    stream = torch.get_rng_state()
    first, second = (model.generate(latent.requires_grad_(), condition) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), stream)
    (gradient,) = torch.autograd.grad(
        (first * torch.linspace(-1, 1, first.shape[-1], device=model.device)).sum(), latent
    )
    assert gradient.shape == latent.shape
    assert gradient.dtype == torch.float32
    assert bool(gradient.isfinite().all())
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    assert torch.equal(latent, before)


@pytest.mark.parametrize("name", MODELS)
def test_model_gives_a_batch_what_it_gives_its_members(name: str, build):
    model = build("model", name)
    latent = initial_latent(model.latent_shape, [(i, 0) for i in range(3)]).to(model.device)
    together = model.generate(latent, model.encode(PROMPTS))
    alone = torch.cat([model.generate(latent[i : i + 1], model.encode([PROMPTS[i]])) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_model_gradient_is_that_of_central_differences(name: str, build):
    model = build("model", name)
    if hasattr(model, "dtype"):
        pytest.skip("its number type is a setting: tests/test_models.py climbs it in float64")
    model.network.double()
    latent = initial_latent(model.latent_shape, [(0, 0), (1, 0)]).double().to(model.device)
    condition = model.encode(PROMPTS[:2])
    for seed in range(3):
        slope, difference = directional(lambda x: model.generate(x, condition).square().sum(), latent, seed)
        assert slope == pytest.approx(difference, rel=1e-4, abs=1e-4)
        assert slope != 0


# Rewards


def climbable(rewards: Sequence[str], build) -> Any:
    """Skip what can only be scored; its own test is below."""
    reward = build("rewards", rewards[0])
    if not callable(reward):
        pytest.skip("scored only: it has no differentiable form")
    return reward


@pytest.mark.parametrize("name", REWARDS)
def test_reward_has_both_of_encode_and_call_or_neither_and_names_its_weights(name: str, build):
    reward = build("rewards", name)
    assert callable(reward) == hasattr(reward, "encode")
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in reward.weights.items())


@pytest.mark.parametrize("name", ["shapes_heldout", "shapes_rendering"])
def test_the_held_out_measures_cannot_be_climbed(name: str, build):
    assert not callable(build("rewards", name))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", REWARDS)
def test_reward_is_differentiable_at_any_size_and_per_sample(name: str, size: tuple[int, int], build):
    reward = climbable([name], build)
    device = getattr(reward, "device", torch.device("cpu"))
    image = pictures(*size).to(device).requires_grad_()
    value = reward(image, reward.encode(PROMPTS))
    assert value.shape == (3,)
    assert value.dtype == torch.float32
    (gradient,) = torch.autograd.grad(value.sum(), image)
    assert gradient.shape == image.shape
    assert bool(gradient.isfinite().all())
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    for i in range(3):
        leaf = image[i : i + 1].detach().requires_grad_()
        alone = reward(leaf, reward.encode([PROMPTS[i]]))
        torch.testing.assert_close(value[i : i + 1], alone, rtol=1e-5, atol=1e-5)
        (one,) = torch.autograd.grad(alone.sum(), leaf)
        assert float((one - gradient[i : i + 1]).norm() / one.norm()) < 1e-3


@pytest.mark.parametrize("name", REWARDS)
def test_reward_gradient_is_that_of_central_differences(name: str, build):
    reward = climbable([name], build)
    reward.network.double()
    text = reward.encode(PROMPTS[:2])
    for size in SIZES[:2]:
        image = pictures(*size, count=2).double().to(reward.device)
        for seed in range(2):
            slope, difference = directional(lambda x: reward(x, text).sum(), image, seed)
            assert slope == pytest.approx(difference, rel=1e-5, abs=1e-8)
            assert slope != 0


@pytest.mark.parametrize("name", REWARDS)
def test_the_climbed_form_is_the_official_one_on_the_same_8_bit_picture(name: str, build):
    reward = climbable([name], build)
    official, levels = to_8_bit(pictures(32, 32))
    climbed = reward(levels.to(getattr(reward, "device", "cpu")), reward.encode(PROMPTS)).detach().cpu()
    torch.testing.assert_close(reward.score(official, PROMPTS), climbed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REWARDS)
def test_the_official_form_scores_each_picture_alone_on_the_cpu_without_gradient(name: str, build):
    reward = build("rewards", name)
    official = [to_8_bit(pictures(*size, count=1))[0][0] for size in SIZES]
    scores = reward.score(official, PROMPTS)
    assert scores.shape == (3,)
    assert scores.dtype == torch.float32
    assert scores.device.type == "cpu"
    assert not scores.requires_grad
    assert bool(scores.isfinite().all())
    alone = torch.cat([reward.score([one], [prompt]) for one, prompt in zip(official, PROMPTS, strict=True)])
    torch.testing.assert_close(scores, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REWARDS)
def test_the_official_form_reads_grey_and_transparent_pictures_as_their_rgb(name: str, build):
    reward = build("rewards", name)
    picture = to_8_bit(pictures(32, 32, count=1))[0][0].convert("L")
    rgb = reward.score([picture.convert("RGB")], PROMPTS[:1])
    assert torch.equal(reward.score([picture], PROMPTS[:1]), rgb)
    assert torch.equal(reward.score([picture.convert("RGBA")], PROMPTS[:1]), rgb)


# Methods


@pytest.mark.parametrize("protocol", ["common", "native"])
@pytest.mark.parametrize("name", METHODS)
def test_method_answers_what_it_was_asked_in_shape_and_dtype_and_changes_nothing(
    name: str, protocol: str, compose, generators
):
    method = instantiate(compose(f"method={name}", f"protocol={protocol}").method)
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
    method = instantiate(compose(f"method={name}").method)
    latent, gradient = initial_latent((3, 32, 32), [(0, 0)]), initial_latent((3, 32, 32), [(2, 0)])
    assert float((method.direction(latent, gradient, generators(1)) * gradient).sum()) > 0
