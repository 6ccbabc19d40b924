"""The grids of the tuning sweep: which settings it tries first, and what it tries next to a choice at an edge.

Every method has the same learning rates, an octave apart, and those with a weight have four weights about the published
one. Where the choice lies at an edge of what was tried, the next rate or weight beyond it is tried too, with all values
of the other: as far as the ends of ``RATES`` and ``WEIGHTS``.
"""

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby, product, starmap
from pathlib import Path
from typing import NamedTuple

METHODS = ("prno", "mpgr", "reno", "planar", "ours", "ours_gradient", "ours_latent", "intervals", "none")
TARGETS = ("shapes_aesthetic", "shapes_matcher")
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
WEIGHTS = {
    "reno": (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
    "prno": (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 1e4),
    "mpgr": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
}
SPARE_RATES, SPARE_WEIGHTS = (3, 1), (2, 2)  # at either end: not tried unless a choice lies beside them
FOLDER = Path("results/miniature/tuning")
SETTINGS = ("prompts=shapes_tuning", "steps=40", "batch=24")
REWARDS = "rewards=[shapes_aesthetic,shapes_matcher,shapes_rendering]"


class Setting(NamedTuple):
    """What the sweep varies; ``weight`` is None where the method has none."""

    lr: float
    weight: float | None = None

    def __str__(self) -> str:
        return f"lr {self.lr:g}" + ("" if self.weight is None else f", weight {self.weight:g}")


def first(method: str) -> set[Setting]:
    """What is tried of a method at first."""
    return set(starmap(Setting, product(*_inner(method))))


def edges(method: str, tried: set[Setting], chosen: Setting) -> list[str]:
    """A line for each edge of what was ``tried`` at which ``chosen`` lies."""
    lines = []
    axes = zip(("lr", "weight"), _ladders(method), _whole(method, tried), chosen, strict=False)
    for name, ladder, values, value in axes:
        for end, side in ((min(values), "lowest"), (max(values), "highest")):
            bound = ", and the bound" if end in (ladder[0], ladder[-1]) else ""
            lines += [f"{name} {value:g} is the {side} tried{bound}"] if value == end else []
    return lines


def more(method: str, tried: set[Setting], chosen: Setting) -> set[Setting]:
    """What is to be tried beside ``tried``: what the grid lacks, and the next values where ``chosen`` is at an edge."""
    axes = []
    for ladder, values, value in zip(_ladders(method), _whole(method, tried), chosen, strict=False):
        beyond = [other for other in ladder if other < min(values)][-1:] if value == min(values) else []
        beyond += [other for other in ladder if other > max(values)][:1] if value == max(values) else []
        axes.append([*values, *beyond])
    return set(starmap(Setting, product(*axes))) - tried


def commands(target: str, method: str, settings: Iterable[Setting], folder: Path = FOLDER) -> list[list[str]]:
    """What ``gradproj-run`` is told to run ``settings``: a command for each weight, over its rates."""
    common = ["-m", *SETTINGS, REWARDS, f"results={folder}", f"reward={target}", f"method={method}"]
    by_weight = sorted(settings, key=lambda setting: (setting.weight or 0, setting.lr))
    found = []
    for weight, group in groupby(by_weight, key=lambda setting: setting.weight):
        rates = f"method.optimizer.lr={','.join(f'{setting.lr:g}' for setting in group)}"
        found.append([*common, rates, *([] if weight is None else [f"method.weight={weight:g}"])])
    return found


def typed(command: Sequence[str]) -> str:
    """A command as a person types it."""
    return shlex.join(["gradproj-run", *command])


def _ladders(method: str) -> list[Sequence[float]]:
    """All values that may be tried: of the rate, and of the weight where the method has one."""
    return [RATES, *([WEIGHTS[method]] if method in WEIGHTS else [])]


def _inner(method: str) -> list[Sequence[float]]:
    """The values that are tried at first, of the rate and of the weight."""
    spares = (SPARE_RATES, SPARE_WEIGHTS)
    return [ladder[low : len(ladder) - high] for ladder, (low, high) in zip(_ladders(method), spares, strict=False)]


def _whole(method: str, tried: set[Setting]) -> list[set[float]]:
    """The values of rate and weight that belong to the grid: the first, and those tried with all first of the other.

    A sweep that was interrupted has some that were not; these are still to be finished.
    """
    inner = _inner(method)
    if len(inner) == 1:
        return [{*inner[0], *(setting.lr for setting in tried if setting.lr in RATES)}]
    rates = {lr for lr in RATES if all(Setting(lr, weight) in tried for weight in inner[1])}
    weights = {weight for weight in WEIGHTS[method] if all(Setting(lr, weight) in tried for lr in inner[0])}
    return [{*inner[0], *rates}, {*inner[1], *weights}]
