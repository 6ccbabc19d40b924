"""The Pareto figure: a row of panels for each target, a panel for each held-out score, of a mix for none of its parts.

Every panel has one curve for each method: the means of both scores over the images, from step to step.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradproj.report.compare import START, Comparison
from gradproj.report.plots import drawing
from gradproj.runs.naming import fingerprint, target


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> picture, one for each model, protocol and list of prompts that has a held-out score."""
    drawn = sorted((comparison for comparison in comparisons if _held_out(comparison)), key=_shared)
    groups = [list(group) for _, group in groupby(drawn, key=_shared)]
    names = [f"pareto-{group[0].model}-{group[0].protocol}" for group in groups]
    pictures: dict[str, bytes] = {}
    for name, group in zip(names, groups, strict=True):
        unique = name if names.count(name) == 1 else f"{name}-{fingerprint(_shared(group[0])[2:])}"
        pictures |= drawing.pictures(unique, lambda group=group: _figure(group))
    return pictures


def _shared(comparison: Comparison) -> tuple[str, str, str]:
    """What the comparisons in one figure have in common: model, protocol, and a hash of settings and prompts."""
    config = next(iter(comparison.methods.values())).run.config
    return comparison.model, comparison.protocol, fingerprint([config["model"], config["prompts"]])


def _held_out(comparison: Comparison) -> list[str]:
    """The scores that are not climbed, not even as a part of the target."""
    parts = target(next(iter(comparison.methods.values())).run.config)
    return [score for score in comparison.scores[1:] if score.partition(" (")[0] not in parts]


def _figure(group: Sequence[Comparison]) -> Figure:
    across = max(len(_held_out(comparison)) for comparison in group)
    width = 1 + 3.3 * across
    figure = Figure(figsize=(width, 0.7 + 2.9 * len(group)), layout="constrained")
    panels = figure.subplots(len(group), across, squeeze=False)
    labels = list(dict.fromkeys(label for comparison in group for label in comparison.methods))
    looks = drawing.looks(labels)
    for comparison, row in zip(group, panels, strict=True):
        held_out = _held_out(comparison)
        for panel, score in zip(row, held_out, strict=False):
            _panel(panel, comparison, comparison.scores[0], score, looks)
        for panel in row[len(held_out) :]:
            panel.remove()
    fullest = max(range(len(group)), key=lambda row: len(group[row].methods))
    drawing.legend(figure, panels[fullest, 0], width)
    return figure


def _panel(panel: Axes, comparison: Comparison, climbed: str, score: str, looks: dict[str, tuple[str, str]]) -> None:
    """Draw all methods' curves; that of a score given afterwards has two points, the start and the end."""
    for label, curves in comparison.methods.items():
        x, y = curves.scores[climbed].mean(0), curves.scores[score].mean(0)
        scored = np.isfinite(y)
        if not scored.any():
            continue
        large = np.flatnonzero(np.isin(np.flatnonzero(scored), drawing.large(curves)))
        drawing.line(panel, x[scored], y[scored], label, looks[label], large)
    first = comparison.first(score)
    start = first.scores[climbed][:, 0].mean(), first.scores[score][:, 0].mean()
    panel.plot(*start, color="black", ls="", marker="D", ms=6, zorder=6, label=START)
    panel.set(xlabel=f"{climbed} (target)".replace("+", " +\n"), ylabel=score)
