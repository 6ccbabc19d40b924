"""The area that a method's curve dominates in each panel of the Pareto plot: one number for a whole curve."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradproj.report import render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Array
from gradproj.report.tables.equal_target import at_every_step

NOTE = (
    "Dominated area (hypervolume) of each method's curve of means over its scored steps, target against one held-out "
    "score, above a corner shared by all methods: the start's target and the lowest held-out mean of any of them. As a "
    "share of the box up to the highest means of any of them; in brackets its 95 % interval "
    f"({RESAMPLES} resamples of the prompts, corner and box held fixed). Areas in the scores' own units and the "
    "paired difference to ours are in hypervolume.csv. Higher is better."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text; none where nothing is held out at every step."""
    sections = [(comparison, own) for comparison in comparisons if (own := rows(comparison))]
    if not sections:
        return {}
    return {
        "hypervolume.csv": render.csv([row for _, own in sections for row in own]),
        "hypervolume.md": render.markdown("Dominated area", NOTE, [_section(*section) for section in sections]),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of hypervolume.csv: per held-out score and method, ``area``, ``share`` of the box, ``ours_minus``.

    ``ours_minus`` is the difference of ours' share to this method's, paired; ``_low`` and ``_high`` end the intervals.
    """
    target, *held_out = at_every_step(comparison)
    bootstrap = Bootstrap(comparison.prompts)
    lines = []
    for score in held_out:
        means = {
            label: (curves.scores[target].mean(0), curves.scores[score].mean(0))
            for label, curves in comparison.methods.items()
        }
        corner = next(iter(means.values()))[0][0], min(y.min() for _, y in means.values())
        top = max(x.max() for x, _ in means.values()), max(y.max() for _, y in means.values())
        box = (top[0] - corner[0]) * (top[1] - corner[1])
        drawn = {
            label: area(bootstrap.means(curves.scores[target]), bootstrap.means(curves.scores[score]), corner)
            for label, curves in comparison.methods.items()
        }
        for label, curves in comparison.methods.items():
            own = float(area(*means[label], corner))
            line = {"comparison": comparison.name, "target": target, "held_out": score, "method": label}
            line |= {"run": curves.run.folder.name, "n": len(curves.images), "area": own}
            line |= {"target_corner": corner[0], "held_out_corner": corner[1]}
            line |= _share("share", own, drawn[label], box, len(bootstrap.images))
            if BASELINE in means and label != BASELINE:
                apart = float(area(*means[BASELINE], corner)) - own
                line |= _share("ours_minus", apart, drawn[BASELINE] - drawn[label], box, len(bootstrap.images))
            lines.append(line)
    return lines


def area(x: Array, y: Array, corner: tuple[float, float]) -> Any:
    """Area of the union of the rectangles from ``corner`` to the points (x, y) above it: (...,) of (..., n)."""
    order = np.argsort(x, axis=-1)
    width = np.diff(np.maximum(np.take_along_axis(x, order, -1), corner[0]), prepend=corner[0], axis=-1)
    height = np.maximum(np.take_along_axis(y, order, -1) - corner[1], 0)
    return (width * np.maximum.accumulate(height[..., ::-1], axis=-1)[..., ::-1]).sum(-1)


def _share(name: str, own: float, drawn: Array, box: float, prompts: int) -> dict[str, float]:
    """Blank where the box is empty (nobody moved); no interval from a single prompt."""
    if not box > 0:
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    low, high = np.quantile(drawn / box, [0.025, 0.975]) if prompts > 1 else (np.nan, np.nan)
    return {name: own / box, f"{name}_low": float(low), f"{name}_high": float(high)}


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    held_out = list(dict.fromkeys(line["held_out"] for line in lines))
    found = {(line["method"], line["held_out"]): line for line in lines}
    best = {score: max(line["share"] for line in lines if line["held_out"] == score) for score in held_out}
    body = []
    for label in comparison.methods:
        cells = []
        for score in held_out:
            line = found[label, score]
            note = render.interval(line["share_low"], line["share_high"], ".3f")
            bold = bool(len(comparison.methods) > 1 and line["share"] == best[score])
            cells.append(render.Cell(render.number(line["share"], 3), note, bold))
        body.append([render.Cell(label), *cells, render.Cell(str(len(comparison.prompts)))])
    return render.Section(comparison.title, ["method", *held_out, "n"], body)
