"""Every part meets its input once, with its weights: what does not fit is told in a line instead of failing images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradproj.errors import UserError
from gradproj.execution import protocol
from gradproj.execution.experiment import Experiment
from gradproj.execution.trajectory import to_pictures
from gradproj.noise import generator
from gradproj.runs.naming import ImageId

SIDE = 64  # pixels of the pictures that rewards are tried on
AT_ONCE = 1024  # prompts encoded side by side: the conditions of more are gigabytes
DO_NOT_FIT = (ValueError, TypeError, RuntimeError, ArithmeticError)  # what torch and the parts raise for bad input


def rehearse(experiment: Experiment, batch: int) -> None:
    """Try every prompt, every reward and the model; on a GPU also one iteration of a whole batch.

    ``UserError`` says what does not fit, and where it is memory that does not do, what to type.
    """
    try:
        _encode_all("model", experiment.model, experiment.prompts)
        for name, reward in experiment.rewards.items():
            try_reward(name, reward, experiment.prompts, climbed=name in experiment.target)
        _try_model(experiment)
        if experiment.model.device.type == "cuda":
            try_batch(experiment, batch)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"one iteration of batch={batch} does not fit in the GPU's memory ({error}); type batch=1, then "
            "model.memory.decoder_checkpointing=blocks, then model.memory.checkpointing=blocks, held_out=after, and "
            "rewards.NAME.memory.checkpointing=blocks where the reward has it (docs/models.md has the sizes)"
        ) from error
    except DO_NOT_FIT as error:
        raise UserError(f"a setting or a prompt does not fit: {error}") from error


def try_reward(name: str, reward: Any, prompts: Sequence[str], climbed: bool) -> None:
    """Let a reward encode all prompts and judge two small pictures; ``UserError`` names its class and what is wrong."""
    noise = torch.rand(2, 3, SIDE, SIDE, generator=generator("check", 0, 0))
    texts = [prompts[0], prompts[-1]]
    try:
        if hasattr(reward, "encode"):
            _encode_all(name, reward, prompts)
        if climbed:
            image = noise.requires_grad_()
            _check_gradient(name, reward, protocol.climb(name, reward, image, _encode(name, reward, texts)), image)
        protocol.score(name, reward, to_pictures(noise.detach()), texts)
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{protocol.described(name, reward)} cannot score these prompts: {error}") from error


def _check_gradient(name: str, reward: Any, value: Tensor, image: Tensor) -> None:
    gradient = torch.autograd.grad(value.sum(), image, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise UserError(
            f"{protocol.described(name, reward)}: __call__ must be differentiable in the image, and its answer does "
            "not depend on it; such a reward can be scored, not climbed: leave out __call__, or climb another one"
        )


def _try_model(experiment: Experiment) -> None:
    """One picture, without gradient."""
    model = experiment.model
    with torch.no_grad(), protocol.blaming("model", model, "generate"):
        latent = torch.randn(1, *model.latent_shape, generator=generator("check", 0, 0)).to(model.device)
        image = model.generate(latent, model.encode(experiment.prompts[:1]))
    if not isinstance(image, Tensor) or image.dtype != torch.float32 or image.shape[:2] != (1, 3) or image.ndim != 4:
        came = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise UserError(
            f"{protocol.described('model', model)}: generate must answer float32 pictures of shape (1, 3, height, "
            f"width) in [0, 1] for one latent; it answered {came}"
        )


def try_batch(experiment: Experiment, batch: int) -> None:
    """One iteration of a whole batch, thrown away: whether it fits in the GPU's memory."""
    for _ in experiment.iterate([ImageId(0, seed) for seed in range(batch)], steps=1):
        pass


def _encode(name: str, part: Any, prompts: Sequence[str]) -> Any:
    with protocol.blaming(name, part, "encode"):
        return part.encode(prompts)


def _encode_all(name: str, part: Any, prompts: Sequence[str]) -> None:
    for start in range(0, len(prompts), AT_ONCE):
        _encode(name, part, prompts[start : start + AT_ONCE])
