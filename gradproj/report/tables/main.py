"""The main table: every method at step 60 and at its last step, and the start, which is no optimisation."""

from typing import Any

import numpy as np

from gradproj.report import paper
from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import BASELINE, START, Comparison
from gradproj.report.load import Curves
from gradproj.report.table import Column, Row, Table
from gradproj.runs.scored_steps import EARLY

TITLE = "Main table"
NOTE = (
    f"Mean over images; in brackets the 95 % interval of the mean difference to the {START} (paired, {RESAMPLES} "
    f"resamples of the prompts). {START} is the picture without optimisation, which the paper calls No Opt. The first "
    "score is the target; the others are held out, save the parts of a mix. Bold: best at the last step."
)


def table(comparison: Comparison) -> Table:
    """Rows with the mean of every score and its interval; the best last step of several methods is bold."""
    ends = {curves.run.folder.name: curves.steps[-1] for curves in comparison.methods.values()}
    last = lambda row: row["steps"] == ends.get(row["run"])  # noqa: E731
    lines = rows(comparison)
    four = ".{digits}f"
    scores = [Column(score, form=four, ends=f"{score}_gain", ends_form=f"+{four}", competes=last)
              for score in comparison.scores]  # fmt: skip
    columns = [Column("method"), Column("steps"), *scores, Column("seconds_per_image", "s/image", ".4g"), Column("n")]
    published = paper.columns(lines)
    for key in published:
        name, form = ("s/image", ".1f") if key == paper.SECONDS else (key, four)
        columns += [Column(f"{key}_paper", f"{name} paper", form)]
        columns += [Column(f"{key}_minus_paper", f"{name} minus paper", f"+{form}")]
    return Table(comparison.title, columns, lines, f"{NOTE} {paper.NOTE}" if published else NOTE)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of main.csv: scores in their official units, seconds per image.

    For a score S, ``S`` is its mean, ``S_gain`` the mean difference to the start, and ``S_ours_minus`` how much more
    ours scores, both at their last step. ``_low`` and ``_high`` are the ends of a difference's 95 % interval.
    """
    bootstrap = Bootstrap(comparison.prompts)
    ours = comparison.methods.get(BASELINE)
    starts = {score: comparison.first(score).scores[score][:, 0].mean() for score in comparison.scores}
    lines = [_line(comparison, START, "", 0, np.nan) | starts]
    for label, curves in comparison.methods.items():
        for index in _shown(curves):
            seconds = curves.seconds[:, index].mean()
            line = _line(comparison, label, curves.run.folder.name, int(curves.steps[index]), seconds)
            for score in comparison.scores:
                values = curves.scores[score][:, index]
                line[score] = values.mean()
                line |= difference(f"{score}_gain", values - curves.scores[score][:, 0], bootstrap)
                if ours is not None and ours is not curves and index == len(curves.steps) - 1:
                    line |= difference(f"{score}_ours_minus", ours.scores[score][:, -1] - values, bootstrap)
            lines.append(line)
    return [line | paper.beside(comparison, line) for line in lines]


def _shown(curves: Curves) -> list[int]:
    """Indices in ``curves.steps``: of step 60, where it was scored and is not the last, and of the last step."""
    last = len(curves.steps) - 1
    return [*np.flatnonzero((curves.steps[:last] == EARLY) & curves.exact[:last]).tolist(), last]


def _line(comparison: Comparison, method: str, run: str, steps: int, seconds: float) -> dict[str, Any]:
    counts = {"n": len(comparison.prompts), "prompts": len(np.unique(comparison.prompts))}
    counts |= {"steps": steps, "seconds_per_image": seconds}
    return comparison.names | {"method": method, "run": run} | counts
