"""How the miniature's networks are trained. What each of them minimises is in ``losses``."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

Loss = Callable[[torch.Generator], Tensor]  # draws a batch and returns its mean loss, a scalar


def adam(network: nn.Module) -> list[Optimizer]:
    """AdamW for all of a network's weights."""
    return [AdamW(network.parameters(), weight_decay=1e-3, betas=(0.9, 0.99))]


def muon(network: nn.Module) -> list[Optimizer]:
    """Muon (Jordan 2024) for the matrices of linear and attention layers, scaled as AdamW is; AdamW for the rest.

    It needs about two thirds of AdamW's steps to teach the generator, and each takes a fifth longer.
    """
    matrices = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]
    matrices += [layer.in_proj_weight for layer in network.modules() if isinstance(layer, nn.MultiheadAttention)]
    known = {id(weight) for weight in matrices}
    rest = [weight for weight in network.parameters() if id(weight) not in known]
    return [
        Muon(matrices, weight_decay=1e-3, adjust_lr_fn="match_rms_adamw"),
        AdamW(rest, weight_decay=1e-3, betas=(0.9, 0.99)),
    ]


def fit(
    network: nn.Module,
    loss: Loss,
    steps: int,
    lr: float,
    generator: torch.Generator,
    checkpoint: Path,
    optimizers: Callable[[nn.Module], list[Optimizer]] = adam,
) -> Iterator[tuple[int, float]]:
    """Train with warm-up and cosine decay; yields (step, loss). The network ends as its moving average.

    Every 250 steps the whole state is written to ``checkpoint``. A training that was killed goes on from there and ends
    with the same weights.
    """
    chosen = optimizers(network)
    average = deepcopy(network)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        for part, saved in zip((network, average, *chosen), state["parts"], strict=True):
            part.load_state_dict(saved)
        generator.set_state(state["generator"])
        first = state["step"]
    for step in range(first, steps):
        value = loss(generator)
        network.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = lr * schedule(step, steps)
            optimizer.step()
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        yield step, float(value.detach())
        if (step + 1) % 250 == 0:
            parts = [part.state_dict() for part in (network, average, *chosen)]
            partial = checkpoint.with_suffix(".part")
            torch.save({"parts": parts, "generator": generator.get_state(), "step": step + 1}, partial)
            partial.replace(checkpoint)
    network.load_state_dict(average.state_dict())


def schedule(step: int, steps: int) -> float:
    """The share of the learning rate at a step: 100 steps of linear warm-up, then a cosine down to 1 %."""
    warmup = min(100, steps // 10 + 1)
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
