"""Every part meets its input once, with its weights: what does not fit is told in a line instead of failing images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gradproj.errors import UserError
from gradproj.execution import protocol
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory.peaks import Stage, unmeasured
from gradproj.execution.trajectory import to_pictures
from gradproj.noise import generator
from gradproj.runs.naming import ImageId

SIDE = 64  # pixels of the pictures that rewards are tried on
AT_ONCE = 1024  # prompts encoded side by side: the conditions of more are gigabytes
CHEAPER = "model.memory.decoder_checkpointing=blocks, then model.memory.checkpointing=blocks"
DO_NOT_FIT = (ValueError, TypeError, RuntimeError, ArithmeticError)  # what torch and the parts raise for bad input


def rehearse(experiment: Experiment, batch: int, stage: Stage = unmeasured) -> None:
    """Try every prompt, every reward and the model; on a GPU also one iteration of a whole batch.

    All prompts are encoded before anything else is loaded, so that no text encoder shares the memory with a generator.
    ``UserError`` says what does not fit, and where it is memory that does not do, what to type. ``stage`` measures.
    """
    model = protocol.described("model", experiment.model)
    with stage("text"), experiment.phase("text"):
        with _fitting(f"the text encoders of {model}", "model.memory.text_encoder_device=cpu"):
            _encode_all("model", experiment.model, experiment.prompts)
        for name, reward in experiment.rewards.items():
            encode_all(name, reward, experiment.prompts)
    with stage("load"), experiment.phase("load"):
        for name, reward in experiment.rewards.items():
            climbed = experiment.model.device if name in experiment.target else None
            try_reward(name, reward, experiment.prompts, climbed)
        with _fitting(f"{model} beside the rewards", f"held_out=cpu, then {CHEAPER}"):
            _try_model(experiment)
    if experiment.model.device.type == "cuda":
        with (
            stage("climb"),
            experiment.phase("load"),
            _fitting(f"one iteration of batch={batch} of {model}", _iteration(experiment)),
        ):
            try_batch(experiment, batch)


@contextmanager
def _fitting(who: str, advice: str) -> Iterator[None]:
    """What ``who`` is too large for, or cannot take, is a ``UserError`` that names it; ``advice``: to save memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{who} does not fit in the GPU's memory ({error}): type {advice} (docs/models.md has the sizes)"
        ) from error
    except DO_NOT_FIT as error:
        raise UserError(f"{who}: a setting or a prompt does not fit: {error}") from error


def _iteration(experiment: Experiment) -> str:
    """What makes an iteration smaller, the cheapest first."""
    rewards = [
        f"rewards.{name}.memory.checkpointing=blocks" for name in experiment.target if _has_memory(experiment, name)
    ]
    return ", then ".join(["batch=1", CHEAPER, "held_out=cpu", *rewards])


def _has_memory(experiment: Experiment, name: str) -> bool:
    """Whether the reward is one of gradproj's whose blocks can be computed again."""
    return "checkpointing" in getattr(getattr(experiment.rewards[name], "memory", None), "__dict__", {})


def try_reward(name: str, reward: Any, prompts: Sequence[str], climbed: torch.device | None = None) -> None:
    """Let a reward encode all prompts and judge two small pictures; ``UserError`` names its class and what is wrong.

    ``climbed`` is the device that the pictures of the climb will be on, None for a reward that is only scored.
    """
    noise = torch.rand(2, 3, SIDE, SIDE, generator=generator("check", 0, 0))
    texts = [prompts[0], prompts[-1]]
    encode_all(name, reward, prompts)
    with _judging(name, reward):
        if climbed is not None:
            image = noise.to(climbed).requires_grad_()
            _check_gradient(name, reward, protocol.climb(name, reward, image, _encode(name, reward, texts)), image)
        _expect_numbers(name, reward, protocol.score(name, reward, to_pictures(noise.detach()), texts))


def encode_all(name: str, reward: Any, prompts: Sequence[str]) -> None:
    """Let a reward read all prompts: what reads them is loaded once and leaves. ``UserError`` as ``try_reward``."""
    with _judging(name, reward):
        if hasattr(reward, "encode"):
            _encode_all(name, reward, prompts)


@contextmanager
def _judging(name: str, reward: Any) -> Iterator[None]:
    """What the reward is too large for, or cannot take, is a ``UserError`` that names its class."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{protocol.described(name, reward)} does not fit in the GPU's memory ({error}): type held_out=after, so "
            f"that fewer rewards are there at a time, then rewards.{name}.dtype=bfloat16 where it has that, or close "
            "what else runs on the GPU (docs/models.md has the sizes)"
        ) from error
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
        condition = model.encode(experiment.prompts[:1])
        image = model.generate(latent, condition)
        if getattr(model, "render", None):
            model.render(latent, condition)  # type: ignore[attr-defined]
    if not isinstance(image, Tensor) or image.dtype != torch.float32 or image.shape[:2] != (1, 3) or image.ndim != 4:
        came = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise UserError(
            f"{protocol.described('model', model)}: generate must answer float32 pictures of shape (1, 3, height, "
            f"width) in [0, 1] for one latent; it answered {came}"
        )
    _expect_numbers("model", model, image)


def _expect_numbers(name: str, part: Any, answer: Tensor) -> None:
    """``UserError`` where the answer is not finite because weights are not. Else it may be the input, and may pass."""
    if answer.isfinite().all():
        return
    for attribute in ("network", "decoder"):
        network = getattr(part, attribute, None)
        if isinstance(network, nn.Module):
            saved = network.state_dict()  # of a network of one's own also what is no tensor
            weights = {key: one for key, one in saved.items() if isinstance(one, Tensor) and one.is_floating_point()}
            wrong = [key for key, weight in weights.items() if not weight.isfinite().all()]
            if wrong:
                raise UserError(
                    f"{protocol.described(name, part)}: {len(wrong)} of its {len(weights)} weights are not finite, "
                    f"first {wrong[0]} of the {attribute} in {weights[wrong[0]].dtype}: type a wider dtype, or, if the "
                    "file itself has them, take it from another source"
                )


def try_batch(experiment: Experiment, batch: int) -> None:
    """One iteration of a whole batch, thrown away: whether it fits in the GPU's memory."""
    for _ in replace(experiment, profile=None).iterate([ImageId(0, seed) for seed in range(batch)], steps=1):
        pass


def _encode(name: str, part: Any, prompts: Sequence[str]) -> Any:
    with protocol.blaming(name, part, "encode"):
        return part.encode(prompts)


def _encode_all(name: str, part: Any, prompts: Sequence[str]) -> None:
    for start in range(0, len(prompts), AT_ONCE):
        _encode(name, part, prompts[start : start + AT_ONCE])
