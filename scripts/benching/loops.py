"""An iteration in several forms: ours, with nothing around it, and as ReNO's description has it."""

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from gradproj.methods.reno import penalty
from gradproj.optimize import optimize
from gradproj.types import Method

from .small import Small


def ours(at: Small, method: Method, steps: int) -> None:
    """``steps`` iterations of the loop."""
    run = at.experiment
    loop = optimize(run.model, run.climb, method, at.condition, at.text, at.latent, steps, at.rng)
    for _ in islice(loop, steps):  # the last item of the loop would be a forward pass more
        pass


def bare(at: Small, steps: int) -> None:
    """Picture, reward, backward pass and Adam, and nothing around them."""
    run = at.experiment
    (name,) = run.target
    latent = at.latent.clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        value = run.rewards[name](run.model.generate(latent, at.condition), at.text[name])
        value.sum().neg().backward()
        optimizer.step()


def reno(at: Small, encode: Callable[[], object], steps: int) -> None:
    """ReNO's iteration, written from its description (arXiv 2406.04312) as a yardstick.

    The latents are in half precision, ``encode`` reads the prompt for the generator again in every iteration, the
    regulariser is differentiated with the reward, the gradient's norm is clipped, and Nesterov's momentum steps. ``at``
    has a generator that computes its blocks again in the backward pass. What the reward makes of the prompt is kept, as
    in ours, although the published code makes it again, too.
    """
    run = at.experiment
    (name,) = run.target
    latent = at.latent.half().requires_grad_()
    optimizer = torch.optim.SGD([latent], lr=5.0, momentum=0.9, nesterov=True)
    for _ in range(steps):
        optimizer.zero_grad()
        encode()
        given: Tensor = latent.float()
        value = run.rewards[name](run.model.generate(given, at.condition), at.text[name])
        (0.01 * penalty(given) - value).sum().backward()
        torch.nn.utils.clip_grad_norm_([latent], 0.1)
        optimizer.step()
