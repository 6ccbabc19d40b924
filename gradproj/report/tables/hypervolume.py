"""The area that a method's curve dominates in each panel of the Pareto plot: one number for a whole curve."""

import numpy as np

from gradproj.report.bootstrap import RESAMPLES, Bootstrap
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.curve import area
from gradproj.report.load import Array
from gradproj.report.table import Column, Row, Table

TITLE = "Dominated area"
NOTE = (
    "Dominated area (hypervolume) of each method's curve of means over its scored steps, target against one held-out "
    "score, above a corner shared by all methods: the start's target and the lowest held-out mean of any of them. As a "
    "share of the box up to the highest means of any of them; in brackets its 95 % interval "
    f"({RESAMPLES} resamples of the prompts, corner and box held fixed). Scored steps: how many points the curve has; "
    "one of fewer points dominates less, so compare methods with the same ones. Areas in the scores' own units and the "
    "paired difference to ours are in hypervolume.csv. Higher is better."
)


def table(comparison: Comparison) -> Table:
    """A table that shows a row for each method and a column for each held-out score.

    It has no rows where no held-out score was scored at every scored step.
    """
    lines = rows(comparison)
    shares = {label: {"method": label, "n": len(comparison.prompts)} for label in comparison.methods if lines}
    for line in lines:
        ends = {f"{line['held_out']}_{end}": line[f"share_{end}"] for end in ("low", "high")}
        shares[line["method"]] |= {line["held_out"]: line["share"], "scored_steps": line["scored_steps"]} | ends
    scores = [Column(score, form=".3f", ends=score, competes=lambda row: True)
              for score in comparison.scored_everywhere[1:]]  # fmt: skip
    columns = [Column("method"), *scores, Column("scored_steps", "scored steps"), Column("n")]
    return Table(comparison.title, columns, lines, NOTE, list(shares.values()))


def rows(comparison: Comparison) -> list[Row]:
    """The lines of hypervolume.csv, one for each held-out score and method.

    ``area`` is in the scores' own units, ``share`` is its share of the box, and ``ours_minus`` is ours' share minus
    this method's, paired. ``_low`` and ``_high`` are the ends of an interval.
    """
    target, *held_out = comparison.scored_everywhere
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
            dominated = float(area(*means[label], corner))
            line = {"comparison": comparison.name, "target": target, "held_out": score, "method": label}
            line |= {"run": curves.run.folder.name, "n": len(comparison.prompts), "area": dominated}
            line |= {"scored_steps": len(curves.steps)}
            line |= {"target_corner": corner[0], "held_out_corner": corner[1]}
            line |= _share("share", dominated, drawn[label], box, len(bootstrap.images))
            if BASELINE in means and label != BASELINE:
                apart = float(area(*means[BASELINE], corner)) - dominated
                line |= _share("ours_minus", apart, drawn[BASELINE] - drawn[label], box, len(bootstrap.images))
            lines.append(line)
    return lines


def _share(name: str, dominated: float, drawn: Array, box: float, prompts: int) -> dict[str, float]:
    """An area as a share of ``box`` with its interval, from the areas ``drawn`` (resamples,) of the resamples.

    All are NaN where the box is empty because no method moved, and the interval is NaN for a single prompt.
    """
    if not box > 0:
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    low, high = np.quantile(drawn / box, [0.025, 0.975]) if prompts > 1 else (np.nan, np.nan)
    return {name: dominated / box, f"{name}_low": float(low), f"{name}_high": float(high)}
