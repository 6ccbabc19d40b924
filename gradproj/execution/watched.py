"""The loop's parts, measured from outside for a profile: no part knows of it, and a plain run has no hook."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gradproj.execution.profile import REST, Profile
from gradproj.types import Method

Climb = Callable[[Tensor, Any], Tensor]


def watched(profile: Profile, model: Any, reward: Climb, method: Method) -> tuple[Any, Climb, Method]:
    """The same for ``optimize``, measured. What ``model`` calls its ``decoder`` is told apart."""

    def climb(image: Tensor, text: Any) -> Tensor:
        with profile("reward"):
            value = reward(image, text)
        return _at_gradient(profile, value, "backward of reward")

    def direction(latent: Tensor, gradient: Tensor, rng: Any) -> Tensor:
        with profile("direction"):
            return method.direction(latent, gradient, rng)

    def retract(latent: Tensor) -> Tensor:
        with profile("retraction"):
            return method.retract(latent)

    def optimizer(samples: Any) -> torch.optim.Optimizer:
        made = method.optimizer(samples)
        made.register_step_pre_hook(lambda *_: profile.begin("optimiser"))
        made.register_step_post_hook(lambda *_: profile.begin(REST))
        return made

    return _Model(model, profile), climb, replace(method, direction=direction, retract=retract, optimizer=optimizer)


class _Model:
    """``model``, whose ``generate`` is measured, and its backward pass."""

    def __init__(self, model: Any, profile: Profile) -> None:
        self.model, self.profile = model, profile

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def generate(self, latent: Tensor, condition: Any) -> Tensor:
        decoder = _decoder(self.model)
        _at_gradient(self.profile, latent, REST)
        last, told_apart = "backward of generator", nullcontext()
        if decoder is not None:
            last, told_apart = "backward of decoder", decoder.register_forward_pre_hook(self._decode)
        with self.profile("generator"), told_apart:
            image = self.model.generate(latent, condition)
        return _at_gradient(self.profile, image, last)

    def _decode(self, entering: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.profile.begin("decoder")
        for clean in arguments[:1]:
            _at_gradient(self.profile, clean, "backward of generator")


def _at_gradient(profile: Profile, tensor: Tensor, phase: str) -> Tensor:
    """``phase`` begins when the gradient of ``tensor``, if it gets one, is there."""
    if tensor.requires_grad:
        tensor.register_hook(lambda _: profile.begin(phase))
    return tensor


def _decoder(model: Any) -> nn.Module | None:
    """The module of ``model`` that decodes: an autoencoder's is its half."""
    decoder = getattr(model, "decoder", None)
    decoder = getattr(decoder, "decoder", decoder)
    return decoder if isinstance(decoder, nn.Module) else None
