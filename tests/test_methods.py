"""Penalties against plain numpy, directions against central differences, settings against the published ones."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray

from gradproj.methods import mpgr, none, ours, prno, reno
from gradproj.spectrum import project
from gradproj.types import Method, follow_gradient, stay

Array = NDArray[np.float64]
Penalty = Callable[[Array], float]
SHAPE = (4, 4, 8)  # N = 128
N = 128
ADAM = torch.optim.Adam


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def off_noise(b: int) -> torch.Tensor:
    """Latents (b, *SHAPE) float64 too large, off centre and smooth: every term of every penalty is active."""
    return 1.6 * normal(b, *SHAPE) + 0.4 + torch.linspace(-1, 1, N, dtype=torch.float64).view(SHAPE)


def plain_reno(x: Array) -> float:
    norm = math.sqrt(sum(v * v for v in x))
    return norm**2 / 2 - (len(x) - 1) * math.log(norm)


def plain_prno_terms(x: Array, k: int) -> tuple[float, float]:
    """log p1 and log p2 before either is bounded by -ln 2."""
    m = len(x) // k
    rows = [x[i * k : (i + 1) * k] for i in range(m)]
    m1 = float(np.linalg.norm(sum(rows) / m))
    m2 = float(np.linalg.norm(sum(np.outer(row, row) for row in rows) / m - np.eye(k), ord=2))
    return -m * m1**2 / (2 * k), -m * max(math.sqrt(1 + m2) - 1 - math.sqrt(k / m), 0) ** 2 / 2


def plain_prno(x: Array, orders: NDArray[np.int64], k: int) -> float:
    def log_p(z: Array) -> float:
        return sum(min(term, -math.log(2)) for term in plain_prno_terms(z, k))

    return -(log_p(x) + sum(log_p(x[order]) for order in orders) / len(orders))


def plain_mpgr(x: Array, order: NDArray[np.int64], power_weight: float, power_mean: float) -> float:
    n = len(x)
    shuffled = x[order]
    k = np.arange(n)
    magnitudes = np.abs(np.exp(-2j * np.pi * np.outer(k, k) / n) @ shuffled) / math.sqrt(n)
    blocks = [abs(magnitudes[i : i + 16].mean() - power_mean) for i in range(0, n, 16)]
    return abs(x.mean()) + abs(math.sqrt((x**2).mean()) - 1) + power_weight * sum(blocks) / len(blocks)


def central(penalty: Penalty, x: Array, h: float = 1e-5) -> Array:
    """The gradient of a plain penalty by central differences, entry by entry."""
    steps = h * np.eye(len(x))
    return np.array([(penalty(x + step) - penalty(x - step)) / (2 * h) for step in steps])


def flat(x: torch.Tensor) -> list[Array]:
    return list(x.flatten(1).numpy())


# ReNO


def test_reno_penalty_is_the_plain_form():
    for x in (off_noise(3), normal(3, *SHAPE), 100 * normal(2, *SHAPE)):
        np.testing.assert_allclose(reno.penalty(x).numpy(), [plain_reno(one) for one in flat(x)], rtol=1e-12)


def test_reno_direction_is_the_reward_minus_the_weighted_penalty_by_central_differences():
    x, g = off_noise(2), normal(2, *SHAPE, seed=5)
    ascent = reno.method(ADAM, 0.1, weight=0.01).direction(x, g, [])
    for one, gradient, answer in zip(flat(x), flat(g), flat(ascent), strict=True):
        np.testing.assert_allclose(answer, gradient - 0.01 * central(plain_reno, one), atol=1e-8)


# PRNO


@pytest.mark.parametrize(("n", "k"), [(128, 4), (130, 4), (128, 8), (512, 4)])
def test_prno_penalty_is_the_plain_form_also_where_k_does_not_divide_n(n: int, k: int):
    rng = torch.Generator().manual_seed(1)
    for x in (1.6 * normal(2, n) + 0.4, normal(2, n), 0.2 * normal(2, n)):
        orders = torch.stack([prno.draw_orders(n, 6, rng) for _ in x])
        plain = [plain_prno(one, order.numpy(), k) for one, order in zip(flat(x), orders, strict=True)]
        np.testing.assert_allclose(prno.penalty(x, orders, k).numpy(), plain, rtol=1e-10)


def test_prno_leaves_likely_noise_alone_at_twice_the_bound():
    """Both terms are bounded by -ln 2, for the latent and for its shuffles: R = 4 ln 2 and no gradient."""
    x = normal(1, *SHAPE)
    x = (x - x.mean()) / x.std()
    assert all(term > -math.log(2) for term in plain_prno_terms(flat(x)[0], 4))
    g = normal(1, *SHAPE, seed=5)
    method = prno.method(ADAM, 1.0, weight=3.0, dimension=4, permutations=1)
    seeds = (s for s in range(100) if likely_shuffle(x, s))
    torch.testing.assert_close(method.direction(x, g, [torch.Generator().manual_seed(next(seeds))]), g, rtol=0, atol=0)


def likely_shuffle(x: torch.Tensor, seed: int) -> bool:
    order = prno.draw_orders(N, 1, torch.Generator().manual_seed(seed))[0].numpy()
    return all(term > -math.log(2) for term in plain_prno_terms(flat(x)[0][order], 4))


def test_prno_direction_is_the_reward_minus_the_weighted_penalty_by_central_differences(generators):
    x, g = off_noise(2), normal(2, *SHAPE, seed=5)
    assert all(term < -math.log(2) for one in flat(x) for term in plain_prno_terms(one, 4))
    method = prno.method(ADAM, 1.0, weight=0.7, dimension=4, permutations=5)
    ascent = method.direction(x, g, generators(2))
    orders = [prno.draw_orders(N, 5, one).numpy() for one in generators(2)]
    for one, gradient, order, answer in zip(flat(x), flat(g), orders, flat(ascent), strict=True):
        plain = central(lambda z, order=order: plain_prno(z, order, 4), one)
        np.testing.assert_allclose(answer, gradient - 0.7 * plain, atol=1e-6)


def test_prno_orders_are_permutations_without_preference():
    orders = prno.draw_orders(8, 4000, torch.Generator().manual_seed(0))
    assert torch.equal(orders.sort(dim=1).values, torch.arange(8).expand(4000, 8))
    counts = torch.stack([(orders == value).sum(0) for value in range(8)]).double()  # value x place, 500 expected
    assert float(((counts - 500) ** 2 / 500).sum()) < 100  # chi-square of 49 degrees of freedom: p about 2e-5


# MPGR


def test_mpgr_penalty_is_the_plain_form():
    for x in (off_noise(2), normal(2, *SHAPE), 0.3 * normal(2, *SHAPE) - 1):
        orders = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(i)) for i in range(2)])
        for weight, mean in ((25.0, 0.875), (3.0, math.sqrt(math.pi) / 2), (0.0, 0.0)):
            plain = [plain_mpgr(one, order.numpy(), weight, mean) for one, order in zip(flat(x), orders, strict=True)]
            np.testing.assert_allclose(mpgr.penalty(x, orders, weight, mean).numpy(), plain, rtol=1e-10)


def test_mpgr_takes_the_penalty_gradient_at_weight_times_the_norm_of_the_reward_gradient(generators):
    x = off_noise(3)
    g = normal(3, *SHAPE, seed=5) * torch.tensor([1e-9, 1.0, 1e6]).double().view(3, 1, 1, 1)
    ascent = mpgr.method(ADAM, 0.01, 0.5, 25.0, 0.875).direction(x, g, generators(3))
    for one, gradient, rng, answer in zip(flat(x), flat(g), generators(3), flat(ascent), strict=True):
        order = torch.randperm(N, generator=rng).numpy()
        plain = central(lambda z, order=order: plain_mpgr(z, order, 25.0, 0.875), one)
        norm = float(np.linalg.norm(gradient))
        np.testing.assert_allclose(answer, gradient - 0.5 * norm * plain / np.linalg.norm(plain), atol=1e-6 * norm)
        assert np.linalg.norm(answer - gradient) == pytest.approx(0.5 * norm, rel=1e-9)


def test_mpgr_refuses_a_latent_its_bins_do_not_tile(generators):
    method = mpgr.method(ADAM, 0.01, 1.0, 25.0, 0.875)
    with pytest.raises(ValueError, match="16 divides, got 40"):
        method.direction(normal(1, 40), normal(1, 40), generators(1))


# Ours, and none


@pytest.mark.parametrize("project_latent", [True, False])
@pytest.mark.parametrize("project_gradient", [True, False])
def test_ours_has_two_switches_and_a_block(project_gradient: bool, project_latent: bool):
    method = ours.method(ADAM, 0.03, 8, project_gradient, project_latent)
    x, g = normal(2, *SHAPE).float(), normal(2, *SHAPE, seed=5).float()
    assert torch.equal(method.direction(x, g, []), project(g, 8) if project_gradient else g)
    assert torch.equal(method.retract(x), project(x, 8) if project_latent else x)
    assert not torch.equal(project(g, 8), project(g, 16))  # so that the block above means something
    assert method.clip == 0.03
    plain = none.method(ADAM, 0.03)
    assert (plain.direction, plain.retract) == (follow_gradient, stay)
    assert torch.equal(follow_gradient(x, g, []), g) and torch.equal(stay(x), x)


# Randomness


@pytest.mark.parametrize("name", ["prno", "mpgr"])
def test_permutations_are_fresh_at_every_step_and_follow_the_samples_generator_alone(name: str, generators):
    method = {"prno": prno.method(ADAM, 0.03, 1.0, 4, 10), "mpgr": mpgr.method(ADAM, 0.03, 1.0, 25.0, 0.875)}[name]
    x, g = off_noise(2).float(), normal(2, *SHAPE, seed=5).float()

    def two_steps() -> list[torch.Tensor]:
        rng = generators(2)
        return [method.direction(x, g, rng), method.direction(x, g, rng)]

    torch.manual_seed(1)
    first, second = two_steps()
    before = torch.get_rng_state()
    again = two_steps()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.allclose(first, second, rtol=1e-3)
    same_latent = method.direction(x[:1].expand(2, *SHAPE), g[:1].expand(2, *SHAPE), generators(2))
    assert not torch.allclose(same_latent[0], same_latent[1], rtol=1e-3)


# The settings, as published (spec section 2)

ADAM_SETTINGS = (torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0})
NESTEROV = (torch.optim.SGD, {"lr": 5.0, "momentum": 0.9, "nesterov": True, "weight_decay": 0, "dampening": 0})
ADAMW = (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.01, "betas": (0.9, 0.999), "eps": 1e-8})
NATIVE = {
    "reno": (NESTEROV, 0.1, 49, "best"),
    "prno": (ADAMW, 1.0, 100, "last"),
    "mpgr": (NESTEROV, 0.01, 500, "last"),
    "none": (ADAM_SETTINGS, 0.03, 14, "last"),
    "ours": (ADAM_SETTINGS, 0.03, 14, "last"),
    "ours_gradient": (ADAM_SETTINGS, 0.03, 14, "last"),
    "ours_latent": (ADAM_SETTINGS, 0.03, 14, "last"),
    "intervals": (ADAM_SETTINGS, 0.03, 14, "last"),
    "planar": (ADAM_SETTINGS, 0.03, 14, "last"),
}
EXACT = {"block": 16, "guard": 0, "clamp": None}
PUBLISHED = {
    "reno": {"weight": 0.01},
    "prno": {"weight": 1.0, "dimension": 4, "permutations": 100},
    "mpgr": {"weight": 1.0, "power_weight": 25.0, "power_mean": 0.875},
    "ours": EXACT | {"project_gradient": True, "project_latent": True},
    "ours_gradient": EXACT | {"project_gradient": True, "project_latent": False},
    "ours_latent": EXACT | {"project_gradient": False, "project_latent": True},
    "intervals": {"significance": 1e-4, "project_gradient": True, "project_latent": True},
    "planar": {"block": 16, "project_gradient": True, "project_latent": True},
    "none": {},
}


def assert_method(config, optimizer: tuple[type, dict], clip: float) -> None:
    method = instantiate(config.method)
    assert isinstance(method, Method)
    made = method.optimizer([torch.zeros(1, 4)])
    assert type(made) is optimizer[0]
    assert {key: made.param_groups[0][key] for key in optimizer[1]} == optimizer[1]
    assert method.clip == clip


@pytest.mark.parametrize("name", NATIVE)
def test_native_protocol_has_the_published_settings(name: str, compose):
    optimizer, clip, steps, keep = NATIVE[name]
    config = compose(f"method={name}", "protocol=native")
    assert (config.steps, config.keep, config.protocol) == (steps, keep, "native")
    assert {key: config.method[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert_method(config, optimizer, clip)


@pytest.mark.parametrize("name", NATIVE)
def test_common_protocol_is_our_adam_clip_and_steps_for_every_method(name: str, compose):
    config = compose(f"method={name}")
    assert (config.steps, config.keep, config.protocol) == (14, "last", "common")
    tuned = dict(config.tuned.shapes_aesthetic.get(name, {}))
    rate = {"lr": tuned.pop("lr", config.untuned_lr)}
    fixed = PUBLISHED[name] | tuned
    assert {key: config.method[key] for key in fixed} == fixed
    assert_method(config, (ADAM_SETTINGS[0], ADAM_SETTINGS[1] | rate), 0.03)


@pytest.mark.parametrize("name", NATIVE)
def test_every_method_has_its_own_tuned_rate(name: str, compose):
    config = compose(f"method={name}", f"++tuned.shapes_aesthetic.{name}.lr=0.3")
    assert config.method.optimizer.lr == 0.3
    assert compose(f"method={name}", "reward=one_without_tuning").method.optimizer.lr == 0.02


def test_a_method_setting_is_an_override_away(compose):
    switches = ("method.block=8", "method.project_latent=false", "method.optimizer.lr=0.5", "method.clip=1.5")
    method = instantiate(compose("method=ours", *switches).method)
    g = normal(1, *SHAPE).float()
    assert torch.equal(method.direction(g, g, []), project(g, 8))
    assert (method.retract, method.clip) == (stay, 1.5)
    assert method.optimizer([torch.zeros(2)]).param_groups[0]["lr"] == 0.5


def test_tuned_values_of_a_target_are_used_in_common_and_give_way_to_the_published_in_native(compose):
    tuned = ("method=reno", "tuned.shapes_aesthetic.reno.weight=0.5", "tuned.shapes_aesthetic.reno.lr=0.3")
    common = compose(*tuned)
    assert (common.method.weight, common.method.optimizer.lr) == (0.5, 0.3)
    other_target = compose(*tuned, "reward=one_without_tuning")
    assert (other_target.method.weight, other_target.method.optimizer.lr) == (0.01, 0.02)
    native = compose(*tuned, "protocol=native")
    assert (native.method.weight, native.method.optimizer.lr) == (0.01, 5.0)
