"""Try methods of our own on the tuning prompts: ``python scripts/candidates.py shapes_aesthetic`` (or another target).

A candidate is a ``gradproj.types.Method`` and what it looks through: the model or the reward, changed. All take the
same Adam at one learning rate (--lr), the 48 prompts of prompts/shapes_tuning.txt and seed 0. Prints, and writes to
results/miniature/tuning/candidates_<target>.csv, the area that each dominates on every pair of target and held-out
score, with its paired lead over ours.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

import gradproj
from gradproj.files import place
from gradproj.methods.intervals import confine
from gradproj.methods.planar import cosines, project_planes
from gradproj.models.shapes import Shapes
from gradproj.noise import generator
from gradproj.report.bootstrap import Bootstrap
from gradproj.report.curve import area
from gradproj.report.writing import csv
from gradproj.rewards.shapes_aesthetic import ShapesAesthetic
from gradproj.rewards.shapes_matcher import ShapesMatcher
from gradproj.runs.environment import describe
from gradproj.runs.scored_steps import scored_steps
from gradproj.spectrum import project
from gradproj.types import Method, projected

PROMPTS = Path("prompts/shapes_tuning.txt")
TARGETS = {"shapes_aesthetic": ShapesAesthetic, "shapes_matcher": ShapesMatcher}
HELD_OUT = ("shapes_heldout", "shapes_rendering")
Onto = Callable[[Tensor], Tensor]


def low(gradient: Tensor, within: float) -> Tensor:
    """The planar gradient with coefficients divided by 1 + (radius / within)^2, in half waves: a rate for each band."""
    gradient = project_planes(gradient)
    size = gradient.shape[-1]
    transform, index = cosines(size, gradient.dtype, gradient.device), torch.arange(size)
    radius = index[:, None] ** 2 + index**2
    return transform.T @ (transform @ gradient @ transform.T / (1 + radius / within**2)) @ transform


def together(gradient: Tensor) -> Tensor:
    """The three white forms of the gradient, added and made white again."""
    return project(project(gradient) + project_planes(gradient) + confine(gradient))


def tangent(latent: Tensor, gradient: Tensor, rng: Any) -> Tensor:
    """The projected gradient without its part along the latent, which the retraction takes back."""
    direction = project(gradient)
    along = (direction * latent).flatten(1).sum(1) / latent.flatten(1).square().sum(1)
    return direction - along[:, None, None, None] * latent


class Smoothed(Shapes):
    """The picture of a latent that a little fresh noise is mixed into: a gradient of its surroundings."""

    SHARE = 0.4  # of the standard deviation

    def __init__(self) -> None:
        super().__init__()
        self.rng = generator("method", 0, 0)

    def generate(self, latent: Tensor, condition: Any) -> Tensor:
        noise = torch.randn(latent.shape, generator=self.rng)
        return super().generate(math.sqrt(1 - self.SHARE**2) * latent + self.SHARE * noise, condition)

    def render(self, latent: Tensor, condition: Any) -> Tensor:
        return super().generate(latent, condition)


def shifted(target: str) -> Any:
    """The target's reward on the picture moved by up to two pixels either way, anew at every step."""

    class Shifted(TARGETS[target]):
        def __init__(self) -> None:
            super().__init__()
            self.rng = generator("method", 0, 0)

        def __call__(self, image: Tensor, text: Any) -> Tensor:
            down, right = torch.randint(0, 5, (2,), generator=self.rng).tolist()
            return super().__call__(pad(image, (2, 2, 2, 2), mode="replicate")[..., down:, right:][..., :32, :32], text)

    return Shifted()


def candidates(target: str, lr: float) -> dict[str, dict[str, Any]]:
    """Name -> what ``gradproj.improve`` gets; the first is what all are compared with."""
    make = partial(torch.optim.Adam, lr=lr)

    def both(gradient: Onto | None, latent: Onto) -> dict[str, Any]:
        return {"method": projected(make, math.inf, gradient, latent)}

    ours = both(project, project)
    return {
        "ours": ours,
        "planar": both(project_planes, project_planes),
        "intervals": both(confine, confine),
        "intervals' gradient, ours' latent": both(confine, project),
        "planar gradient, ours' latent": both(project_planes, project),
        "planar, blocks of 4": both(partial(project_planes, block=4), partial(project_planes, block=4)),
        "the three gradients together": both(together, project),
        "planar, low-pass 4": both(partial(low, within=4), project_planes),
        "planar, low-pass 16": both(partial(low, within=16), project_planes),
        "ours along the tangent": {"method": Method(make, tangent, project)},
        "ours through a smoothed model": ours | {"model": Smoothed()},
        "ours through a shifted picture": ours | {"reward": shifted(target)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--lr", type=float, default=0.04)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    target, scores = arguments.target, [arguments.target, *HELD_OUT]
    curves, scored = {}, scored_steps(arguments.steps, "geometric")
    for name, parts in candidates(target, arguments.lr).items():
        made = gradproj.improve(
            PROMPTS, steps=arguments.steps, rewards=scores, overrides=["batch=24"], **{"reward": target, **parts}
        )
        curves[name] = {score: np.stack([one.trajectory[score].iloc[scored] for one in made]) for score in scores}
        print(f"{name}: {', '.join(f'{score} {values.mean(0)[-1]:.4f}' for score, values in curves[name].items())}")
    rows = [
        {"target": target, "candidate": name, "lr": arguments.lr, "steps": arguments.steps, "n": len(curve[target])}
        | {"highest": curve[target].mean(0).max()}
        | {key: value for score in HELD_OUT for key, value in compared(name, curves, target, score).items()}
        for name, curve in curves.items()
    ]
    place(PROMPTS.parents[1] / f"results/miniature/tuning/candidates_{target}.csv", csv(rows).encode())
    facts = describe(torch.device("cpu"))
    print(f"{facts['device']}, torch {facts['packages']['torch']}, {facts['git']}")


def compared(name: str, curves: dict[str, dict[str, Any]], target: str, score: str) -> dict[str, float]:
    """The area as a share of the box of all candidates, and its paired lead over ours with a 95 % interval."""
    means = [(curve[target].mean(0), curve[score].mean(0)) for curve in curves.values()]
    corner = means[0][0][0], min(y.min() for _, y in means)
    box = (max(x.max() for x, _ in means) - corner[0]) * (max(y.max() for _, y in means) - corner[1])
    bootstrap = Bootstrap(np.arange(len(curves["ours"][target])))

    def drawn(which: str) -> Any:
        return area(bootstrap.means(curves[which][target]), bootstrap.means(curves[which][score]), corner) / box

    dominated = {which: area(curves[which][target].mean(0), curves[which][score].mean(0), corner) / box
                 for which in (name, "ours")}  # fmt: skip
    low_end, high_end = np.quantile(drawn(name) - drawn("ours"), [0.025, 0.975])
    lead = {"lead": dominated[name] - dominated["ours"], "lead_low": low_end, "lead_high": high_end}
    return {f"{score}_area": dominated[name]} | {f"{score}_{key}": value for key, value in lead.items()}


if __name__ == "__main__":
    main()
