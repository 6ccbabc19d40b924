"""Pareto plots: mean target against the mean of every held-out score, a curve over the steps per method."""

import io
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradproj.report.compare import Comparison
from gradproj.report.load import Curves
from gradproj.report.tables import BASELINE, EARLY, START

# Okabe and Ito's colours, told apart by all common kinds of colour vision; a method keeps its own in every plot.
COLOURS = {"ours": "#D55E00", "mpgr": "#0072B2", "prno": "#009E73", "reno": "#CC79A7", "none": "#7F7F7F"}
OTHERS = ("#E69F00", "#56B4E9", "#000000", "#0072B2", "#009E73", "#CC79A7", "#7F7F7F", "#D55E00")
MARKERS = ("s", "^", "v", "P", "X", "p")  # a circle is ours
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "svg.hashsalt": "gradproj",
    "svg.fonttype": "path",
}
ACROSS = 3  # panels in a row


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> picture, PNG and SVG, for every comparison with a held-out score."""
    pictures: dict[str, bytes] = {}
    for comparison in comparisons:
        if len(comparison.scores) > 1:
            pictures |= pareto(comparison)
    return pictures


def pareto(comparison: Comparison) -> dict[str, bytes]:
    """The two files of one comparison; nothing in them but the records' numbers (no date, no version)."""
    name = f"pareto-{comparison.name}"
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    pictures = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = _figure(comparison)
        for kind, words in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=160, metadata=words)
            pictures[f"{name}.{kind}"] = buffer.getvalue()
    return pictures


def _figure(comparison: Comparison) -> Figure:
    target, *held_out = comparison.scores
    across = min(ACROSS, len(held_out))
    down = -(-len(held_out) // across)
    width = 1 + 3.3 * across
    figure = Figure(figsize=(width, 0.7 + 2.9 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    looks = _looks(list(comparison.methods))
    for panel, score in zip(panels, held_out, strict=False):
        for label, curves in comparison.methods.items():
            _draw(panel, curves, target, score, label, *looks[label])
        _start(panel, next(iter(comparison.methods.values())), target, score)
        panel.set(xlabel=f"{target} (target)", ylabel=score)
    for panel in panels[len(held_out) :]:
        panel.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    fitting = int(width / (0.7 + 0.08 * max(map(len, labels))))  # a key and its text, in inches
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), max(1, fitting)), frameon=False)
    return figure


def _looks(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Label -> (colour, marker); a label without a colour of its own gets the next one that no other here has."""
    own = {label: COLOURS[label] for label in labels if label in COLOURS}
    free = cycle([colour for colour in OTHERS if colour not in own.values()])
    markers = cycle(MARKERS)
    looks = {
        label: (own[label] if label in own else next(free), next(markers)) for label in labels if label != BASELINE
    }
    return looks | {BASELINE: (COLOURS[BASELINE], "o")}


def _draw(panel: Axes, curves: Curves, target: str, score: str, label: str, colour: str, marker: str) -> None:
    """One method's curve of means, small markers at the scored steps, large ones at step 60 and the last.

    A score given afterwards has two points, the start and the end.
    """
    x, y = curves.scores[target].mean(0), curves.scores[score].mean(0)
    scored = np.isfinite(y)
    width, order = (3.2, 3) if label == BASELINE else (1.4, 4)  # ours wide, but never hiding another
    panel.plot(x[scored], y[scored], color=colour, lw=width, marker=marker, ms=3, label=label, zorder=order)
    large = np.unique([*np.flatnonzero(curves.steps == EARLY).tolist(), len(x) - 1])
    panel.plot(x[large], y[large], color=colour, ls="", marker=marker, ms=8, mec="white", mew=0.8, zorder=order + 0.5)


def _start(panel: Axes, curves: Curves, target: str, score: str) -> None:
    """The common start."""
    x, y = curves.scores[target][:, 0].mean(), curves.scores[score][:, 0].mean()
    panel.plot(x, y, color="black", ls="", marker="D", ms=6, zorder=6, label=START)
