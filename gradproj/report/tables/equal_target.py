"""Methods at equal target: how soon each reaches a level of the target, and what else its images score there."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradproj.report import render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Array

SHARES = (0.5, 0.75, 1.0)  # of the way from no opt. to the highest level that every method's mean reaches
NOTE = (
    "Level: a share of the way from no opt. to the highest mean target that every method reaches. Step: where a "
    "method's mean target first reaches it (linear between scored steps). Held-out scores: means at that step, in "
    f"brackets their 95 % interval ({RESAMPLES} resamples of the prompts, the crossing held fixed); the paired "
    "differences to ours are in equal_target.csv."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text."""
    sections = [(comparison, rows(comparison)) for comparison in comparisons]
    return {
        "equal_target.csv": render.csv([row for _, own in sections for row in own]),
        "equal_target.md": render.markdown(
            "Methods at equal target", NOTE, [_section(*section) for section in sections]
        ),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of equal_target.csv: per level and method, the held-out means S with ``S_low`` and ``S_high``.

    ``S_ours_minus`` with its ``_low`` and ``_high`` is the paired mean difference of ours to this method at that level.
    """
    target, *held_out = at_every_step(comparison)
    bootstrap = Bootstrap(comparison.prompts)
    means = {label: curves.scores[target].mean(0) for label, curves in comparison.methods.items()}
    start = next(iter(means.values()))[0]
    top = min(mean.max() for mean in means.values())
    lines = []
    for share in SHARES:
        level = min(top, (1 - share) * start + share * top)  # rounding must not lift it over what is reached
        ours = comparison.methods.get(BASELINE)
        for label, curves in comparison.methods.items():
            place = crossing(means[label], level)
            line = {
                "comparison": comparison.name,
                "model": comparison.model,
                "target": target,
                "protocol": comparison.protocol,
            }
            line |= {
                "share": share,
                "level": level,
                "method": label,
                "run": curves.run.folder.name,
                "n": len(curves.images),
            }
            step = np.interp(place, np.arange(len(curves.steps)), curves.steps)
            line |= {"step": step, "seconds_per_image": at(curves.seconds, place).mean()}
            for score in held_out:
                values = at(curves.scores[score], place)
                low, high = bootstrap.interval(values)
                line |= {score: values.mean(), f"{score}_low": low, f"{score}_high": high}
                if ours is not None and ours is not curves:
                    gap = at(ours.scores[score], crossing(means[BASELINE], level)) - values
                    line |= difference(f"{score}_ours_minus", gap, bootstrap)
            lines.append(line)
    return lines


def at_every_step(comparison: Comparison) -> list[str]:
    """The scores that the records hold for every scored step: without those given to the saved pictures afterwards."""
    every = comparison.methods.values()
    return [score for score in comparison.scores if not any(score in curves.rescored for curves in every)]


def crossing(curve: Array, level: float) -> float:
    """Where ``curve`` (points,), straight between its points, first reaches ``level``; 1.5 is midway from 1 to 2."""
    after = int(np.argmax(curve >= level))
    if after == 0:
        return 0.0
    before = after - 1
    return before + (level - curve[before]) / (curve[after] - curve[before])


def at(values: Array, place: float) -> Array:
    """``values`` (images, points) at a fractional place, linearly: (images,)."""
    before = int(place)
    after = min(before + 1, values.shape[1] - 1)
    return values[:, before] + (place - before) * (values[:, after] - values[:, before])


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    target, *held_out = at_every_step(comparison)
    digits = {score: render.digits([line[score] for line in lines]) for score in held_out}
    levels = render.digits([line["level"] for line in lines])
    body = []
    for line in lines:
        cells = [
            render.Cell(
                f"{line[score]:.{digits[score]}f}",
                render.interval(line[f"{score}_low"], line[f"{score}_high"], f".{digits[score]}f"),
            )
            for score in held_out
        ]
        texts = [f"{line['level']:.{levels}f} ({line['share']:.0%})", line["method"], f"{line['step']:.1f}"]
        seconds = f"{line['seconds_per_image']:.4g}"
        body.append([*map(render.Cell, texts), render.Cell(seconds), *cells, render.Cell(str(line["n"]))])
    return render.Section(comparison.title, [f"{target} (share)", "method", "step", "s/image", *held_out, "n"], body)
