"""Reward hacking as numbers: how far what was climbed left behind what it stands for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradproj.report import render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import Comparison
from gradproj.report.gap import GAP, gain, gap, held_out

NOTE = (
    "At the last step, means over images. climbed minus official: the climbed form of the float picture minus the "
    "published scorer's number for the saved 8-bit picture. Gains in standard deviations of the start's scores: of the "
    f"target, and of each held-out score. {GAP} In brackets its 95 % interval ({RESAMPLES} resamples of the prompts). "
    "hacked: the share of images whose target rose while the mean of their held-out gains fell."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text."""
    sections = [(comparison, rows(comparison)) for comparison in comparisons]
    return {
        "hacking.csv": render.csv([row for _, own in sections for row in own]),
        "hacking.md": render.markdown("Reward hacking", NOTE, [_section(*section) for section in sections]),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of hacking.csv; blank where nothing is held out, or where all starts score alike."""
    bootstrap = Bootstrap(comparison.prompts)
    target = comparison.scores[0]
    lines = []
    for label, curves in comparison.methods.items():
        apart, climb = gap(curves, comparison.scores), gain(curves, target)
        line = {"comparison": comparison.name, "target": target, "method": label, "run": curves.run.folder.name}
        line |= {"n": len(curves.images), "steps": int(curves.steps[-1])}
        official = curves.climbed[:, -1] - curves.scores[target][:, -1]
        line |= difference("climbed_minus_official", official, bootstrap)
        line |= {
            f"{score}_gain": gain(curves, score).mean() for score in [target, *held_out(curves, comparison.scores)]
        }
        line |= difference("gap", apart, bootstrap)
        hacked = ((climb > 0) & (climb - apart < 0)).mean()  # climb - gap: the mean held-out gain
        line["hacked"] = hacked if np.isfinite(apart).all() else np.nan
        lines.append(line)
    return lines


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    gains = [key for key in lines[0] if key.endswith("_gain")]
    body = []
    for line in lines:
        own = render.number(line["climbed_minus_official"], render.digits([line["climbed_minus_official"]]))
        note = render.interval(line["gap_low"], line["gap_high"], ".2f")
        cells = [render.Cell(line["method"]), render.Cell(own)]
        cells += [render.Cell("" if line[key] != line[key] else f"{line[key]:+.2f}") for key in gains]
        cells += [render.Cell(render.number(line["gap"], 2), note)]
        body.append(
            [
                *cells,
                render.Cell("" if np.isnan(line["hacked"]) else f"{line['hacked']:.0%}"),
                render.Cell(str(line["n"])),
            ]
        )
    names = [key.replace("_gain", " gain") for key in gains]
    return render.Section(
        comparison.title, ["method", "climbed minus official", *names, "hacking gap", "hacked", "n"], body
    )
