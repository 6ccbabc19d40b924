"""The loop on a model of a few numbers: against plain torch loops, alone and in a batch, with bad gradients."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradproj.methods import mpgr, none, ours, prno, reno
from gradproj.optimize import Step, optimize
from gradproj.types import Method

SHAPE = (3, 4, 8)  # N = 96: three blocks of 16 coefficients
ADAM = partial(torch.optim.Adam, lr=0.05)
SGD = partial(torch.optim.SGD, lr=0.3, momentum=0.9, nesterov=True)


class Mixer:
    """A model linear in the latent, entry by entry, so that a batch computes its members' very numbers."""

    latent_shape: tuple[int, ...] = SHAPE
    device = torch.device("cpu")
    weights: Mapping[str, str] = {}

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def generate(self, latent: Tensor, condition: None) -> Tensor:
        flat = latent.flatten(1)
        mixed = 0.8 * flat + 0.3 * flat.roll(1, 1) - 0.2 * flat.roll(5, 1)
        return mixed.view(latent.shape)


@dataclass
class Bowl:
    """-|image - target|^2 / 2; at call t, sample i gets ``faults[names[i]][t]`` times that: 0, NaN or inf."""

    faults: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    calls: int = 0

    def __call__(self, image: Tensor, text: tuple[Tensor, Sequence[int]]) -> Tensor:
        target, names = text
        factor = torch.tensor([self.faults.get(name, {}).get(self.calls, 1.0) for name in names])
        self.calls += 1
        return -(image - target).square().flatten(1).sum(1) / 2 * factor


def slope(image: Tensor, text: Tensor) -> Tensor:
    """A reward whose gradient is the same everywhere."""
    return (image * text).flatten(1).sum(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def climb(method: Method, latent: Tensor, steps: int, reward: Callable, text, rng=()) -> list[Step]:
    rng = rng or [torch.Generator() for _ in latent]
    return list(optimize(Mixer(), reward, method, None, text, latent, steps, rng))


def path(steps: Sequence[Step]) -> Tensor:
    """(steps + 1, b, *latent)"""
    return torch.stack([step.latent for step in steps])


METHODS = {
    "none": none.method(ADAM, 0.03),
    "none, sgd": none.method(SGD, 0.03),
    "reno": reno.method(SGD, 0.1, 0.01),
    "prno": prno.method(partial(torch.optim.AdamW, lr=0.05), 1.0, 1.0, 4, 5),
    "mpgr": mpgr.method(SGD, 0.1, 1.0, 25.0, 0.875),
    "ours": ours.method(ADAM, 0.03, 16, True, True),
    "ours, gradient only": ours.method(ADAM, 0.03, 16, True, False),
    "ours, latent only": ours.method(ADAM, 0.03, 16, False, True),
}


# Against plain loops


@pytest.mark.parametrize("clip", [math.inf, 0.5])
@pytest.mark.parametrize("optimizer", [ADAM, SGD, partial(torch.optim.AdamW, lr=0.05)])
def test_without_regularisation_the_loop_is_the_plain_torch_loop(optimizer: Callable, clip: float):
    x0, target = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    parameter = torch.nn.Parameter(x0.clone())
    plain_optimizer = optimizer([parameter])
    latents, rewards, norms = [], [], []
    for _ in range(16):
        latents.append(parameter.detach().clone())
        loss = (Mixer().generate(parameter, None) - target).square().sum() / 2
        rewards.append(-loss.item())
        plain_optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_([parameter], clip)))
        plain_optimizer.step()
    steps = climb(none.method(optimizer, clip), x0, 15, Bowl(), (target, [0]))
    torch.testing.assert_close(path(steps), torch.stack(latents), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([step.reward.item() for step in steps], rewards, rtol=1e-4)
    np.testing.assert_allclose([step.gradient_norm.item() for step in steps[:-1]], norms[:-1], rtol=1e-4)


def test_direction_then_clip_then_optimiser_then_retraction():
    """A method of odd parts against the same written out: ascent 3 g + x, clip 0.2, SGD, back to the unit sphere."""
    method = Method(
        partial(torch.optim.SGD, lr=0.7),
        lambda x, g, rng: 3 * g + x,
        lambda x: x / x.flatten(1).norm(dim=1)[:, None, None, None],
        0.2,
    )
    x0, target = normal(1, *SHAPE), normal(1, *SHAPE, seed=1)
    x, expected = x0.double(), []
    for _ in range(6):
        expected.append(x)
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(-(Mixer().generate(leaf, None) - target).square().sum() / 2, leaf)
        ascent = 3 * g + x
        x = x + 0.7 * ascent * min(1.0, 0.2 / float(ascent.norm()))
        x = x / x.norm()
    torch.testing.assert_close(
        path(climb(method, x0, 5, Bowl(), (target, [0]))), torch.stack(expected).float(), rtol=1e-4, atol=1e-6
    )


# What comes out


@pytest.mark.parametrize("name", METHODS)
def test_steps_plus_one_items_from_the_unchanged_start_and_the_input_is_left_alone(name: str, generators):
    x0 = normal(2, *SHAPE)
    before = x0.clone()
    seen = []
    for step in optimize(Mixer(), Bowl(), METHODS[name], None, (torch.zeros(2, *SHAPE), [0, 1]), x0, 7, generators(2)):
        seen.append((step, step.latent.clone(), step.image.clone()))
    assert [step.index for step, _, _ in seen] == list(range(8))
    assert torch.equal(seen[0][1], before)
    assert torch.equal(x0, before)
    for step, latent, image in seen:
        assert torch.equal(step.latent, latent)  # a kept step does not change under the reader
        torch.testing.assert_close(step.image, Mixer().generate(latent, None))
        torch.testing.assert_close(step.reward, -image.square().flatten(1).sum(1) / 2)
        assert not (step.latent.requires_grad or step.image.requires_grad or step.reward.requires_grad)
    assert not torch.equal(seen[0][1], seen[1][1])


def test_the_last_step_has_no_gradient_and_is_not_skipped_also_where_it_is_the_only_one():
    x0, text = normal(2, *SHAPE), (torch.zeros(2, *SHAPE), [0, 1])
    *before, last = climb(METHODS["ours"], x0, 3, Bowl(), text)
    assert all(step.gradient_norm.isfinite().all() for step in before)
    (only,) = climb(METHODS["ours"], x0, 0, Bowl(), text)
    assert torch.equal(only.latent, x0)
    for step in (last, only):
        assert step.gradient_norm.isnan().all() and not step.skipped.any()


# A batch gives what its members give alone

FAULTS = {
    1: {2: 0.0, 3: 0.0, 9: 0.0},
    2: {0: math.nan, 5: math.nan},
    3: {4: math.inf},
    4: dict.fromkeys(range(99), 0.0),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_eight_is_eight_single_runs_also_beside_bad_gradients_which_move_nothing(name: str, generators):
    x0, target = normal(8, *SHAPE) * torch.linspace(0.5, 1.5, 8).view(8, 1, 1, 1), normal(8, *SHAPE, seed=1)
    together = climb(METHODS[name], x0, 12, Bowl(FAULTS), (target, list(range(8))), generators(8))
    for i in range(8):
        alone = climb(METHODS[name], x0[i : i + 1], 12, Bowl(FAULTS), (target[i : i + 1], [i]), [generators(8)[i]])
        torch.testing.assert_close(path(together)[:, i : i + 1], path(alone), rtol=1e-4, atol=1e-4)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one.reward[i : i + 1], other.reward, rtol=1e-3, atol=1e-3, equal_nan=True)
            assert bool(one.skipped[i]) == bool(other.skipped)
        for step, following in pairwise(together):
            fault = step.index in FAULTS.get(i, {})
            assert bool(step.skipped[i]) == fault
            assert torch.equal(step.latent[i], following.latent[i]) == fault
            assert bool(following.latent[i].isfinite().all())


@pytest.mark.parametrize("optimizer", [ADAM, SGD, partial(torch.optim.AdamW, lr=0.05)])
def test_a_skipped_step_advances_neither_moments_nor_step_count(optimizer: Callable):
    """The distinct latents are those of a plain optimiser that never heard of the bad steps."""
    x0, target = normal(3, *SHAPE), normal(3, *SHAPE, seed=1)
    steps = climb(none.method(optimizer, math.inf), x0, 10, Bowl(FAULTS), (target, [0, 1, 2]))
    for i in range(3):
        parameter = torch.nn.Parameter(x0[i : i + 1].clone())
        plain_optimizer = optimizer([parameter])
        for step in steps:
            torch.testing.assert_close(step.latent[i : i + 1], parameter.detach(), rtol=1e-4, atol=1e-5)
            if step.index not in FAULTS.get(i, {}):
                plain_optimizer.zero_grad()
                ((Mixer().generate(parameter, None) - target[i]).square().sum() / 2).backward()
                plain_optimizer.step()


def cusp(image: Tensor, text: Tensor) -> Tensor:
    """0 with a NaN gradient: d sqrt(u) / du at u = 0 is infinite, du is 0."""
    return ((image - text) * 0).square().flatten(1).sum(1).sqrt()


def wall(image: Tensor, text: Tensor) -> Tensor:
    """0 with an infinite gradient in one entry: the square root of what the start has none of."""
    return (image - text).flatten(1)[:, 7].sqrt()


def unknown(image: Tensor, text: Tensor) -> Tensor:
    """NaN with a finite gradient."""
    return image.flatten(1).sum(1) + math.nan


@pytest.mark.parametrize("reward", [cusp, wall, unknown])
@pytest.mark.parametrize("name", ["none", "ours"])
def test_a_reward_or_gradient_that_is_not_finite_is_skipped_even_where_the_other_is(name: str, reward: Callable):
    x0 = normal(1, *SHAPE)
    steps = climb(METHODS[name], x0, 2, reward, Mixer().generate(x0, None))
    assert [bool(step.skipped) for step in steps] == [True, True, False]
    assert torch.equal(steps[2].latent, x0)


# Clip, projection, scale


def test_the_clip_is_per_sample():
    """Plain SGD: every step has length lr * min(|g|, clip), each sample its own."""
    x0, scale = normal(3, *SHAPE), torch.tensor([1e-3, 1.0, 1e3])
    text = normal(1, *SHAPE, seed=1).expand(3, *SHAPE) * scale.view(3, 1, 1, 1)
    leaf = x0.double().requires_grad_()
    (g,) = torch.autograd.grad(slope(Mixer().generate(leaf, None), text.double()).sum(), leaf)
    norms = g.flatten(1).norm(dim=1)
    clip = float(norms[1]) * 0.5
    steps = climb(none.method(partial(torch.optim.SGD, lr=2.0), clip), x0, 1, slope, text)
    moved = (steps[1].latent - steps[0].latent).flatten(1).double()
    torch.testing.assert_close(moved.norm(dim=1), 2 * norms.clamp(max=clip), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(steps[0].gradient_norm, norms, rtol=1e-5, atol=0)


def test_under_adam_the_clip_changes_nothing_for_ours():
    x0, target = normal(4, *SHAPE), 3 * normal(4, *SHAPE, seed=1)
    text = (target, [0, 1, 2, 3])
    clipped, free = (
        path(climb(ours.method(ADAM, clip, 16, True, True), x0, 30, Bowl(), text)) for clip in (0.03, math.inf)
    )
    assert float((clipped - free).norm() / free.norm()) < 1e-4
    sgd = [path(climb(ours.method(SGD, clip, 16, True, True), x0, 30, Bowl(), text)) for clip in (0.03, math.inf)]
    assert float((sgd[0] - sgd[1]).norm() / sgd[1].norm()) > 1e-2  # so that the comparison above could fail


@pytest.mark.parametrize("project_gradient", [True, False])
def test_a_persistent_gradient_leaves_rms_1_only_where_the_latent_is_projected(project_gradient: bool):
    """Adam under a constant gradient moves each entry by lr a step: x_T = x_0 + lr T sign(g)."""
    x0, text = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    method = [ours.method(ADAM, 0.03, 16, project_gradient, latent) for latent in (True, False)]
    projected, free = (path(climb(one, x0, 40, slope, text)) for one in method)
    rms = projected.flatten(2).square().mean(2).sqrt()
    torch.testing.assert_close(rms[1:], torch.ones(40, 2), rtol=0, atol=1e-4)
    direction = free[1] - free[0]
    torch.testing.assert_close(
        free[40], x0 + 0.05 * 40 * direction.sign(), rtol=0, atol=1e-2
    )  # Adam's eps slows tiny entries
    assert (free[40].flatten(1).square().mean(1).sqrt() > 1.8).all()  # sqrt(1 + (lr T)^2) = 2.24 in the mean


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12])
def test_the_size_of_the_gradient_does_not_matter_to_ours_and_its_norm_is_recorded(scale: float):
    x0, text = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    unit, scaled = (climb(METHODS["ours"], x0, 10, slope, text * factor) for factor in (1.0, scale))
    torch.testing.assert_close(path(scaled), path(unit), rtol=1e-3, atol=1e-3)
    leaf = x0.double().requires_grad_()
    (g,) = torch.autograd.grad(slope(Mixer().generate(leaf, None), (text * scale).double()).sum(), leaf)
    for step in scaled[:-1]:
        assert not step.skipped.any()
        np.testing.assert_allclose(step.gradient_norm.numpy(), np.linalg.norm(g.flatten(1).numpy(), axis=1), rtol=1e-5)


# Time


def test_seconds_are_the_loops_own_up_to_the_reward_and_before_its_backward(monkeypatch: pytest.MonkeyPatch):
    """A clock only the parts move: generate 10, reward 1, backward 1000, direction 100, retract 5, the caller 10^6."""
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("gradproj.optimize.time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Slow(Mixer):
        def generate(self, latent: Tensor, condition: None) -> Tensor:
            spend(10)
            image = super().generate(latent, condition)
            if image.requires_grad:
                image.register_hook(lambda gradient: spend(1000))
            return image

    def reward(image: Tensor, text: Tensor) -> Tensor:
        spend(1)
        return slope(image, text)

    def direction(latent: Tensor, gradient: Tensor, rng: object) -> Tensor:
        spend(100)
        return gradient

    def retract(latent: Tensor) -> Tensor:
        spend(5)
        return latent

    def watched() -> Iterator[float]:
        method, rng = Method(SGD, direction, retract), [torch.Generator(), torch.Generator()]
        for step in optimize(Slow(), reward, method, None, normal(2, *SHAPE), normal(2, *SHAPE), 5, rng):
            yield step.seconds
            spend(1e6)

    assert list(watched()) == [11 + index * (11 + 1000 + 100 + 5) for index in range(6)]
