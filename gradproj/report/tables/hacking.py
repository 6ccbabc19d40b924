"""Reward hacking as numbers: how far what was climbed ran ahead of what it is meant to stand for."""

import numpy as np

from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import Comparison
from gradproj.report.gap import GAP, gain, gap, held_out
from gradproj.report.table import Column, Row, Table

TITLE = "Reward hacking"
NOTE = (
    "At the last step, means over images. climbed minus official: the climbed form of the float picture minus the "
    "published scorer's number for the saved 8-bit picture. Gains in standard deviations of the start's scores: of the "
    f"target, and of each held-out score. {GAP} In brackets its 95 % interval ({RESAMPLES} resamples of the prompts). "
    "hacked: the share of images whose target rose while the mean of their held-out gains fell."
)


def table(comparison: Comparison) -> Table:
    """A row for each method; the gap is blank where nothing is held out, or where all starts score alike."""
    lines = rows(comparison)
    gains = list(dict.fromkeys(key for line in lines for key in line if key.endswith("_gain")))
    columns = [
        Column("method"),
        Column("climbed_minus_official", "climbed minus official", ".{digits}f"),
        *(Column(key, key.replace("_gain", " gain"), "+.2f") for key in gains),
        Column("gap", "hacking gap", ".2f", "gap"),
        Column("hacked", form=".0%"),
        Column("n"),
    ]
    return Table(comparison.title, columns, lines, NOTE)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of hacking.csv, one for each method."""
    bootstrap = Bootstrap(comparison.prompts)
    target = comparison.scores[0]
    lines = []
    for label, curves in comparison.methods.items():
        apart, climb = gap(curves, comparison.scores), gain(curves, target)
        line = {"comparison": comparison.name, "target": target, "method": label, "run": curves.run.folder.name}
        line |= {"n": len(comparison.prompts), "steps": int(curves.steps[-1])}
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
