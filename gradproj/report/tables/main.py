"""The main table: every method at step 60 and at its last step, beside no optimisation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradproj.report import paper, render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Curves

EARLY = 60  # step of the paper's early row
START = "no opt."
NOTE = (
    f"Mean over images; in brackets the 95 % interval of the mean difference to {START} (paired, {RESAMPLES} resamples "
    "of the prompts). The first score is the target; the others are held out, save the parts of a mix. "
    "Bold: best at the last step."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text."""
    sections = [(comparison, rows(comparison)) for comparison in comparisons]
    compact = [_section(comparison, own) for comparison, own in sections]
    everything = [row for _, own in sections for row in own]
    note = f"{NOTE} {paper.NOTE}" if paper.columns(everything) else NOTE
    return {
        "main.csv": render.csv(everything),
        "main.md": render.markdown("Main table", note, compact),
        "main.tex": render.latex(note, compact),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of main.csv: scores in their official units, seconds per image.

    For a score S: ``S`` its mean, ``S_gain`` the mean difference to no opt., ``S_ours_minus`` the mean difference of
    ours to this method, both at their last step; ``_low`` and ``_high`` end a difference's 95 % interval.
    """
    bootstrap = Bootstrap(comparison.prompts)
    first = next(iter(comparison.methods.values()))
    ours = comparison.methods.get(BASELINE)
    lines = [
        _line(comparison, START, "", 0, np.nan)
        | {score: first.scores[score][:, 0].mean() for score in comparison.scores}
    ]
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
    """Places in ``curves.steps``: of step 60, where it was scored and is not the end, and of the last step."""
    last = len(curves.steps) - 1
    return [*np.flatnonzero((curves.steps[:last] == EARLY) & curves.exact[:last]).tolist(), last]


def _line(comparison: Comparison, method: str, run: str, steps: int, seconds: float) -> dict[str, Any]:
    names = {
        "comparison": comparison.name,
        "model": comparison.model,
        "target": comparison.target,
        "protocol": comparison.protocol,
    }
    images, prompts = len(comparison.prompts), len(np.unique(comparison.prompts))
    counts = {"n": images, "prompts": prompts, "steps": steps, "seconds_per_image": seconds}
    return names | {"method": method, "run": run} | counts


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    """The compact form: a mean and its interval per score, the best last step of at least two methods in bold."""
    ends = {curves.run.folder.name: curves.steps[-1] for curves in comparison.methods.values()}
    last = [line for line in lines if line["run"] and line["steps"] == ends[line["run"]]]
    best = {score: max(line[score] for line in last) if len(last) > 1 else np.inf for score in comparison.scores}
    digits = {score: render.digits([line[score] for line in lines]) for score in comparison.scores}
    published = paper.columns(lines)
    body = []
    for line in lines:
        seconds = "" if np.isnan(line["seconds_per_image"]) else f"{line['seconds_per_image']:.4g}"
        cells = [
            render.Cell(
                render.number(line[score], digits[score]),
                render.interval(line.get(f"{score}_gain_low"), line.get(f"{score}_gain_high"), f"+.{digits[score]}f"),
                line in last and bool(line[score] == best[score]),
            )
            for score in comparison.scores
        ]
        ends_of_row = [render.Cell(seconds), render.Cell(str(line["n"])), *_beside(line, published, digits)]
        body.append([render.Cell(line["method"]), render.Cell(str(line["steps"])), *cells, *ends_of_row])
    header = ["method", "steps", *comparison.scores, "s/image", "n"]
    names = ["s/image" if key == paper.SECONDS else key for key in published]
    return render.Section(
        comparison.title, [*header, *(f"{name} {what}" for name in names for what in ("paper", "minus paper"))], body
    )


def _beside(line: dict[str, Any], published: Sequence[str], digits: dict[str, int]) -> list[render.Cell]:
    """The paper's number and the difference to it, a pair of cells for each of ``published``."""
    cells = []
    for key in published:
        decimals = digits.get(key, 1)
        cells.append(render.Cell(render.number(line.get(f"{key}_paper", np.nan), decimals)))
        apart = line.get(f"{key}_minus_paper", np.nan)
        cells.append(render.Cell("" if np.isnan(apart) else f"{apart:+.{decimals}f}"))
    return cells
