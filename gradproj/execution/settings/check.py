"""What can be told of parts and prompts before any weight is loaded: used by ``plan`` and by every worker."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradproj.errors import UserError
from gradproj.noise import generator
from gradproj.runs.naming import target
from gradproj.types import Method, OptimizerMaker

ADAM = "method.optimizer._target_=torch.optim.Adam"
UNFIT = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError)  # what parts make of what does not fit


def check(made: Mapping[str, Any], settings: Mapping[str, Any], prompts: Sequence[str]) -> None:
    """``UserError`` where the parts ``made`` (``parts``) do not fit each other, ``settings`` or ``prompts``.

    The climbed rewards have a differentiable form, the optimiser climbs, the method takes a latent of the model's
    shape, and every part that has a ``check_prompts`` can read the prompts.
    """
    model, method, rewards = made["model"], made["method"], made["rewards"]
    for name in target(settings):
        if not callable(rewards[name]):
            raise UserError(
                f"reward={name} has no differentiable form: it can be scored, not climbed; climb another one"
            )
    if not isinstance(method, Method):
        raise UserError(f"method._target_ must make a gradproj.types.Method, got {method!r}")
    latent = torch.randn(1, *model.latent_shape, generator=generator("check", 0, 0))
    check_optimizer(method.optimizer, latent)
    _check_method(method, latent)
    for key, part in {"model": model, **{f"rewards.{name}": reward for name, reward in rewards.items()}}.items():
        check_prompts(key, part, prompts)


def check_optimizer(maker: OptimizerMaker, like: Tensor) -> None:
    """One step from zero on a latent such as ``like``, along a gradient of ones: it must go down."""
    latent = torch.zeros_like(like)
    latent.grad = torch.ones_like(like)
    try:
        optimizer = maker([latent])
    except UNFIT as error:
        raise UserError(f"method.optimizer does not fit: {_line(error)}: see torch.optim for what it takes") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UserError(f"method.optimizer must be a torch optimiser, got {optimizer!r}: type {ADAM}")
    name = type(optimizer).__name__
    if "closure" in _needed(optimizer.step):
        raise UserError(f"method.optimizer: {name} evaluates the reward again within a step: type {ADAM}")
    try:
        optimizer.step()
    except UNFIT as error:
        raise UserError(f"method.optimizer: {name} cannot take a latent: {_line(error)}: type {ADAM}") from error
    if not (latent < 0).all() or not latent.isfinite().all():
        raise UserError(
            f"method.optimizer: {name} with {_settings(optimizer)} does not climb the reward: "
            "its lr must be above 0, and maximize=false"
        )


def check_prompts(key: str, part: Any, prompts: Sequence[str]) -> None:
    """Whether the part under ``key`` can read ``prompts``, where it can tell without its weights."""
    try:
        getattr(part, "check_prompts", lambda _: None)(prompts)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key} cannot read a prompt: {_line(error)}") from error


def _check_method(method: Method, latent: Tensor) -> None:
    try:
        moved = method.retract(method.direction(latent, latent.clone(), [generator("check", 0, 0)]))
    except UNFIT as error:
        raise UserError(f"a setting of the method does not fit the model's latent: {_line(error)}") from error
    if moved.shape != latent.shape or not moved.isfinite().all():
        raise UserError(
            f"the method makes {tuple(moved.shape)} of a latent of shape {tuple(latent.shape)}, or what is not finite: "
            "change its settings (method.KEY=VALUE)"
        )


def _needed(function: Any) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
    ]


def _settings(optimizer: torch.optim.Optimizer) -> str:
    return ", ".join(f"{key}={optimizer.defaults[key]}" for key in ("lr", "maximize") if key in optimizer.defaults)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
