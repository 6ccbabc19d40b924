"""A run's first image: its picture at step 0 against the published pipeline's, its gradient against differences."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradproj.execution.experiment import Experiment
from gradproj.execution.verify import GRADIENT, PICTURE, Finding, Task, allowed, dtype_of
from gradproj.noise import initial_latent
from gradproj.runs.naming import LOOP, ImageId, target

STEPS = 17  # lengths of a difference: the latent's over 8, 16, ..., 524288


def picture(task: Task, made: Mapping[str, Any]) -> Finding:
    """Ours and the published pipeline's of the same latent and prompt; the picture of another latent is a control."""
    model = made["model"]
    if not hasattr(model, "published"):
        return Finding("picture", "note", f"not compared: {type(model).__name__} has no published pipeline")
    image, prompt = task.image, task.prompt
    latent = initial_latent(model.latent_shape, [image]).to(model.device)
    other = initial_latent(model.latent_shape, [ImageId(image.prompt, image.seed + 1)]).to(model.device)
    with torch.no_grad():
        condition = model.encode([prompt])
        draw = getattr(model, "render", None) or model.generate
        ours, control = (draw(one, condition).cpu() for one in (latent, other))
    theirs = model.published(latent, [prompt]).cpu()
    tolerance = allowed(PICTURE, task.settings["model"])
    difference, apart = _rms(ours - theirs), _rms(ours - control)
    numbers = {"difference": difference, "tolerance": tolerance, "largest": _largest(ours - theirs), "control": apart}
    said = f"differs from {model.kind.__name__}'s own by {difference:.1e} (rms; {tolerance:g} is allowed)"
    said += f", that of another latent by {apart:.1e}"
    quantization = getattr(model, "quantization", "none")
    if quantization != "none" and math.isfinite(difference):  # the published one is not quantized: what that costs
        return Finding("picture", "note", f"with {quantization} weights {said}", "", numbers)
    if not difference <= tolerance:  # refuses NaN, too
        advice = "this model does not draw what the published pipeline draws; please report it with the page"
        return Finding("picture", "wrong", said, advice, numbers)
    if not apart > tolerance:
        return Finding("picture", "wrong", said, "that proves nothing: the latent hardly changes the picture", numbers)
    return Finding("picture", "OK", said, "", numbers)


def gradient(task: Task, made: Mapping[str, Any]) -> Finding:
    """The climbed reward's gradient in the latent against central differences along it.

    The exact slope along the gradient's own direction is its length. The shortest differences whose two neighbours
    agree with them give the slope, or those that agree best where none do well; how well is told, and the gradient has
    no part in the choice.
    """
    model, settings = made["model"], task.settings
    experiment = Experiment(
        **made, target=target(settings), prompts=task.prompts, **{key: settings[key] for key in LOOP}
    )
    prompt = task.prompt
    latent = initial_latent(model.latent_shape, [task.image]).to(model.device).requires_grad_()
    condition = model.encode([prompt])
    texts = {name: made["rewards"][name].encode([prompt]) for name in experiment.target}

    def climbed(at: Tensor) -> Tensor:
        return experiment.climb(model.generate(at, condition), texts)

    (slope,) = torch.autograd.grad(climbed(latent).sum(), latent)
    length = float(torch.linalg.vector_norm(slope, dtype=torch.float64))
    tolerance = allowed(GRADIENT, settings["model"], *(settings["rewards"][name] for name in experiment.target))
    if not 0 < length < math.inf:
        return Finding("gradient", "wrong", f"its length is {length}", "no step can be made", {"length": length})
    with torch.no_grad():
        found, doubt, step = differences(lambda at: float(climbed(at)), latent.detach(), slope / length, tolerance / 2)
    difference = abs(found / length - 1)
    numbers = {"difference": difference, "tolerance": tolerance, "length": length, "slope": found, "doubt": doubt}
    numbers |= {"step": step}
    said = f"{length:.3g} long, {found:.3g} by differences: {difference:.1e} apart ({tolerance:g} is allowed)"
    said += f"; the differences themselves are {doubt:.1e} apart"
    if difference <= tolerance:
        return Finding("gradient", "OK", said, "", numbers)
    advice = "the gradient is not the slope of the picture's reward; please report it with the page"
    if doubt > tolerance and dtype_of(settings["model"]) in ("float16", "bfloat16"):
        advice = "no length of a difference suits this number type; a finer one tells more: model.dtype=float32"
    return Finding("gradient", "wrong", said, advice, numbers)


def differences(
    value: Callable[[Tensor], float], latent: Tensor, direction: Tensor, enough: float
) -> tuple[float, float, float]:
    """The slope of ``value`` at ``latent`` (1, *latent) along the unit ``direction``; its doubt, and the step length.

    The doubt is how far the two neighbouring steps' slopes are from it, as a part of it. A slope may change over a
    short way, so the shortest step whose doubt is at most ``enough`` is taken; where rounding leaves none, the one of
    the least doubt.
    """
    size = float(latent.norm())
    steps = [size / 2**power for power in range(3, 3 + STEPS)]
    slopes = [(value(latent + h * direction) - value(latent - h * direction)) / (2 * h) for h in steps]
    spreads = [_spread(*three) for three in zip(slopes, slopes[1:], slopes[2:], strict=False)]
    best = min(range(len(spreads)), key=spreads.__getitem__)
    best = max((index for index, spread in enumerate(spreads) if spread <= enough), default=best)
    return slopes[best + 1], spreads[best], steps[best + 1]


def _spread(before: float, here: float, after: float) -> float:
    """How far two slopes are from the one between them; infinite where a step was too short to change the value."""
    if not before * here * after:
        return math.inf
    spread = max(abs(here - before), abs(here - after)) / abs(here)
    return spread if spread >= 0 else math.inf  # not a number


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
