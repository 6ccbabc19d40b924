"""What ``types.Reward`` and ``types.Model`` promise, tried on one reward or model; it asks for nothing beyond them.

Every check takes the part and prompts that it can read, and raises ``Broken`` where a promise is not kept. Tests run
them on every part under configs/, and ``gradproj check-reward`` on a reward of your own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from gradproj.noise import generator, initial_latent

SIZES = [(32, 32), (48, 64), (128, 128)]  # height, width of the pictures that a reward is tried on
CLOSE = 1e-4  # of the largest number compared: what the order of a sum may change in float32
SLOPE = 0.05  # the part by which a gradient may miss central differences, which float32 makes inexact
STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)  # lengths of the differences; the best one counts


class Broken(Exception):
    """A promise that is not kept: what was expected, and what came."""


def pictures(height: int, width: int, count: int = 3) -> Tensor:
    """Smooth and noisy pictures away from 0 and 1: (count, 3, height, width) float32, always the same."""
    draw = generator("contract", height, width)
    smooth = F.interpolate(torch.rand(count, 3, 4, 4, generator=draw), (height, width), mode="bilinear")
    return 0.1 + 0.6 * smooth + 0.2 * torch.rand(count, 3, height, width, generator=draw)


def to_8_bit(images: Tensor) -> tuple[list[Pillow.Image], Tensor]:
    """PIL pictures of float images in [0, 1], and the same levels as float32 tensors."""
    levels = (images * 255).round().to(torch.uint8)
    return [Pillow.fromarray(image.permute(1, 2, 0).numpy()) for image in levels], levels.float() / 255


def expect(kept: bool, promise: str, came: object) -> None:
    if not kept:
        raise Broken(f"{promise}; got {came}")


def expect_close(one: Tensor, other: Tensor, promise: str, tolerance: float = CLOSE) -> None:
    """Within ``tolerance`` of the largest number."""
    gap, scale = float((one - other).abs().max()), float(torch.maximum(one.abs(), other.abs()).max())
    expect(gap <= tolerance * max(scale, 1e-6), promise, f"a difference of {gap:.2g} among numbers up to {scale:.2g}")


def expect_tensor(value: Any, shape: Sequence[int], promise: str) -> None:
    is_tensor = isinstance(value, Tensor)
    came = f"{value.dtype} of shape {tuple(value.shape)}" if is_tensor else type(value).__name__
    expect(is_tensor and value.dtype == torch.float32 and tuple(value.shape) == tuple(shape), promise, came)
    expect(bool(value.isfinite().all()), f"{promise}, finite", value)


def check_weights(part: Any, prompts: Sequence[str]) -> None:
    """``weights`` maps names to hashes or revisions, all of them text."""
    weights = getattr(part, "weights", None)
    whole = isinstance(weights, Mapping) and all(isinstance(text, str) for pair in weights.items() for text in pair)
    expect(whole, "weights must map every file to its sha256 or revision", repr(weights))


def check_forms(reward: Any, prompts: Sequence[str]) -> None:
    """``score`` is there, and ``encode`` and ``__call__`` both or neither."""
    expect(callable(getattr(reward, "score", None)), "score(pictures, prompts) must be a method", dir(type(reward)))
    there = "__call__" if callable(reward) else "encode"
    both = callable(reward) == hasattr(reward, "encode")
    expect(both, "encode and __call__ must both be there, or neither", f"{there} alone")


def check_score(reward: Any, prompts: Sequence[str]) -> None:
    """``score`` gives every picture, of its own size, the number that it gets alone: float32, on the CPU."""
    official = [to_8_bit(pictures(*size, count=1))[0][0] for size in SIZES]
    texts = [prompts[index % len(prompts)] for index in range(len(official))]
    scores = reward.score(official, texts)
    expect_tensor(scores, (len(official),), f"score of {len(official)} pictures must be float32 ({len(official)},)")
    expect(scores.device.type == "cpu", "score must answer on the CPU", scores.device)
    expect(not scores.requires_grad, "score must be without gradient", "a tensor that requires it")
    alone = torch.cat([reward.score([picture], [text]) for picture, text in zip(official, texts, strict=True)])
    expect_close(scores, alone, "score must give a picture in a batch what it gives it alone")


def check_modes(reward: Any, prompts: Sequence[str]) -> None:
    """``score`` reads a grey and a transparent picture as their RGB."""
    grey = to_8_bit(pictures(32, 32, count=1))[0][0].convert("L")
    rgb = reward.score([grey.convert("RGB")], prompts[:1])
    for mode in ("L", "RGBA"):
        expect_close(reward.score([grey.convert(mode)], prompts[:1]), rgb, f"score must read {mode} as its RGB", 0.0)


def check_call(reward: Any, prompts: Sequence[str]) -> None:
    """``__call__`` takes pictures of any size, and gives each the score and the gradient that it gets alone."""
    texts = [prompts[index % len(prompts)] for index in range(3)]
    for size in SIZES:
        images = pictures(*size, count=3).to(_device(reward))
        values, slopes = _climb(reward, images, texts)
        for index, text in enumerate(texts):
            value, slope = _climb(reward, images[index : index + 1], [text])
            expect_close(
                values[index : index + 1], value, "__call__ must give each picture in a batch what it gives it alone"
            )
            gap = float((slope - slopes[index]).norm() / slope.norm())
            expect(gap < 1e-3, "its gradient must not depend on what stands beside it", f"a part of {gap:.2g}")


def check_gradient(reward: Any, prompts: Sequence[str]) -> None:
    """The gradient of ``__call__`` is that of central differences."""
    for size in SIZES[:2]:
        image = pictures(*size, count=1).to(_device(reward))
        text = reward.encode(prompts[:1])
        _, slope = _climb(reward, image, prompts[:1])
        _expect_slope(lambda at, text=text: reward(at, text).sum(), image, slope)


def check_agreement(reward: Any, prompts: Sequence[str], gap: float = 0.05) -> None:
    """``__call__`` and ``score`` agree on an 8-bit picture, but for a part ``gap`` of the largest score."""
    official, levels = to_8_bit(pictures(32, 32, count=2))
    texts = [prompts[index % len(prompts)] for index in range(2)]
    with torch.no_grad():
        climbed = reward(levels.to(_device(reward)), reward.encode(texts)).cpu()
    expect_close(climbed, reward.score(official, texts), "__call__ and score must agree on the same picture", gap)


def check_picture(model: Any, prompts: Sequence[str]) -> None:
    """``generate`` makes float32 pictures in [0, 1], the same ones again; latent and random state stay as they are."""
    latent = initial_latent(model.latent_shape, [(0, seed) for seed in range(len(prompts))]).to(model.device)
    kept, condition = latent.clone(), model.encode(prompts)
    stream = torch.get_rng_state()
    with torch.no_grad():
        image, again = (model.generate(latent, condition) for _ in range(2))
    shape = (len(prompts), 3, *image.shape[2:])
    expect_tensor(image, shape, f"generate must make {len(prompts)} float32 pictures (b, 3, h, w)")
    ends = float(image.min()), float(image.max())
    expect(image.ndim == 4 and 0 <= ends[0] < ends[1] <= 1, "pictures must lie in [0, 1] and not be flat", ends)
    expect(torch.equal(image, again), "generate must give the same picture twice", "two pictures")
    expect(torch.equal(latent, kept), "generate must leave the latent as it is", "another one")
    expect(torch.equal(torch.get_rng_state(), stream), "generate must draw no random number", "another random state")


def check_members(model: Any, prompts: Sequence[str]) -> None:
    """``generate`` gives a batch what it gives its members, and every latent a gradient that is finite and not zero."""
    latent = initial_latent(model.latent_shape, [(0, seed) for seed in range(len(prompts))]).to(model.device)
    leaf = latent.requires_grad_()
    together = model.generate(leaf, model.encode(prompts))
    (slope,) = torch.autograd.grad(together.square().sum(), leaf)
    expect_tensor(slope, latent.shape, "the gradient must be float32 of the latent's shape")
    expect(bool((slope.flatten(1).abs().amax(1) > 0).all()), "every latent must have a gradient", "zero")
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            alone = model.generate(latent[index : index + 1], model.encode([prompt]))
        expect_close(together[index : index + 1].detach(), alone, "a batch must give what its members give")


def check_model_gradient(model: Any, prompts: Sequence[str]) -> None:
    """The gradient of ``generate`` is that of central differences."""
    latent = initial_latent(model.latent_shape, [(0, 0)]).to(model.device)
    condition, leaf = model.encode(prompts[:1]), latent.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.generate(leaf, condition).square().mean(), leaf)
    _expect_slope(lambda at: model.generate(at, condition).square().mean(), latent, slope)


SCORED = (check_weights, check_forms, check_score, check_modes)
CLIMBED = (check_call, check_gradient, check_agreement)
MODEL = (check_weights, check_picture, check_members, check_model_gradient)


def reward_checks(reward: Any) -> tuple[Callable[..., None], ...]:
    """The checks for ``reward``: one that has no differentiable form is only scored."""
    return SCORED + CLIMBED if callable(reward) else SCORED


def _device(reward: Any) -> torch.device:
    """Where pictures must be: a reward that does not say is on the CPU, or takes them from anywhere."""
    return getattr(reward, "device", torch.device("cpu"))


def _climb(reward: Any, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Value and gradient, both checked for shape, type and being finite; every picture has a gradient."""
    leaf, count = images.detach().clone().requires_grad_(), len(images)
    value = reward(leaf, reward.encode(prompts))
    expect_tensor(value, (count,), f"__call__ of {count} pictures must be float32 ({count},)")
    expect(value.requires_grad, "__call__ must be differentiable in the picture", "a tensor without gradient")
    (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    expect_tensor(slope, leaf.shape, "the gradient must be float32 of the picture's shape")
    expect(bool((slope.flatten(1).abs().amax(1) > 0).all()), "every picture must have a gradient", "zero")
    return value.detach(), slope


def _expect_slope(function: Callable[[Tensor], Tensor], at: Tensor, slope: Tensor) -> None:
    """Along the gradient itself, at the best of several lengths: float32 loses digits to short ones."""
    direction, expected = slope / slope.norm(), float(slope.norm())
    misses = []
    with torch.no_grad():
        for step in STEPS:
            ends = [float(function(at + sign * step * direction).double()) for sign in (1, -1)]
            misses.append(abs((ends[0] - ends[1]) / (2 * step) / expected - 1))
    promise = "the gradient must be that of central differences"
    expect(min(misses) < SLOPE, promise, f"a difference of {min(misses):.0%}")
