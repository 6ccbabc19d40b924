"""Is the latent still noise? The statistics that were recorded of it, over the steps."""

from typing import Any

import numpy as np

from gradproj.report.compare import START, Comparison
from gradproj.report.load import LATENT, Curves
from gradproj.report.table import Column, Row, Table
from gradproj.runs.scored_steps import EARLY

TITLE = "The latent"
NOTE = (
    "Means over images of each step's own latent, also where the best picture is kept (latent.csv has every scored "
    "step). White noise has rms 1, a spectral flatness of .97 (periodogram averaged over 16 coefficients; 1 is flat) "
    "and lies about .15 from the feasible set (root mean square per entry, block 16; .146 for N = 65,536); the start "
    "is such noise."
)


def table(comparison: Comparison) -> Table:
    """A table whose rows are of every scored step, and which shows the start, step 60 and the last step."""
    lines = rows(comparison)
    shown = [lines[0] | {"method": START}] if lines else []
    ends = {label: int(curves.steps[-1]) for label, curves in comparison.methods.items()}
    shown += [line for line in lines if line["step"] in (EARLY, ends[line["method"]])]
    columns = [Column(name, words, ".4f") for name, words in LATENT.items()]
    return Table(comparison.title, [Column("method"), Column("step"), *columns, Column("n")], lines, NOTE, shown)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of latent.csv, one for each method and scored step.

    Each has the mean of every statistic over the images and its quantiles of 5 % and 95 %, blank where the records do
    not have the statistic.
    """
    return [
        {"comparison": comparison.name, "method": label, "run": curves.run.folder.name}
        | {"n": len(comparison.prompts), "step": int(step)}
        | _statistics(curves, index)
        for label, curves in comparison.methods.items()
        for index, step in enumerate(curves.steps)
    ]


def _statistics(curves: Curves, index: int) -> dict[str, Any]:
    """Mean and quantiles of every statistic at the scored step of this index."""
    found = {}
    for name in LATENT:
        values = curves.latent[name][:, index]
        low, high = np.quantile(values, [0.05, 0.95])
        found |= {name: values.mean(), f"{name}_5": low, f"{name}_95": high}
    return found
