"""How soon ours reaches the level that each other method ends at: the paper's "30 % of the time"."""

import numpy as np

from gradproj.report import paper
from gradproj.report.bootstrap import RESAMPLES, Bootstrap
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.curve import at, between, crossing, step_at
from gradproj.report.load import Array, Curves
from gradproj.report.table import Column, Row, Table

TITLE = "Time to target"
NOTE = (
    "Level: the mean target that each other method ends at. Ours at step, and seconds: where ours' mean target first "
    "reaches that level, linear between the two scored steps around it, which are named, and the share this is of the "
    f"other's steps and seconds. In brackets the 95 % interval of the step ({RESAMPLES} resamples of the prompts, "
    "level included). never: not within its steps. Bold: the highest level. Seconds are the records' own: compare them "
    "only where all runs had the machine to themselves."
)


def table(comparison: Comparison) -> Table:
    """A row for every method but ours; no rows where there is no ours, or nothing beside it."""
    lines = rows(comparison)
    columns = [
        Column("against"),
        Column("level", form=".{digits}f", competes=lambda row: True),
        Column("steps"),
        Column("seconds", "s/image", ".4g"),
        Column("ours_step", "ours at step", ".1f", "ours_step", ".0f", never="never"),
        Column("ours_between_steps", "between steps"),
        Column("step_share", "of its steps", ".0%"),
        Column("ours_seconds", "ours s/image", ".2f"),
        Column("seconds_share", "of its seconds", ".0%"),
    ]
    if any("seconds_share_paper" in line for line in lines):
        columns.append(Column("seconds_share_paper", "paper", ".0%"))
    return Table(comparison.title, [*columns, Column("n")], lines, NOTE)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of time_to_target.csv, one for each method but ours.

    ``ours_step`` and all that follows from it are blank where ours never reaches the level.
    """
    ours = comparison.methods.get(BASELINE)
    if ours is None:
        return []
    target, bootstrap = comparison.target, Bootstrap(comparison.prompts)
    mean, drawn = ours.scores[target].mean(0), bootstrap.means(ours.scores[target])
    lines = []
    for label, curves in comparison.others.items():
        ends, steps, seconds = curves.scores[target][:, -1], curves.steps[-1], curves.seconds[:, -1].mean()
        line = {"comparison": comparison.name, "target": target, "against": label, "run": curves.run.folder.name}
        line |= {"n": len(ends), "level": ends.mean(), "steps": int(steps), "seconds": seconds}
        line |= {"ours_step": np.nan, "ours_between_steps": ""}
        line |= dict.fromkeys(("step_share", "ours_seconds", "seconds_share"), np.nan)
        line |= _interval(ours, drawn, bootstrap.means(ends), len(bootstrap.images))
        if mean.max() >= ends.mean():
            position = crossing(mean, ends.mean())
            step, taken = step_at(ours.steps, position), at(ours.seconds, position).mean()
            line |= {"ours_step": step, "ours_between_steps": between(ours.steps, position)}
            line |= {"step_share": step / steps, "ours_seconds": taken, "seconds_share": taken / seconds}
        lines.append(line | paper.time(comparison, label, int(steps)))
    return lines


def _interval(curves: Curves, means: Array, levels: Array, prompts: int) -> dict[str, float]:
    """The ends of the interval of the step at which the curve reaches the level, over the resamples.

    ``means`` (resamples, points) are the curves and ``levels`` (resamples,) the levels. The step is infinite in a
    resample that never reaches its level. The interval is NaN for a single prompt.
    """
    pairs = zip(means, levels, strict=True)
    steps = [step_at(curves.steps, crossing(mean, level)) if mean.max() >= level else np.inf for mean, level in pairs]
    low, high = np.quantile(steps, [0.025, 0.975], method="nearest") if prompts > 1 else (np.nan, np.nan)
    return {"ours_step_low": float(low), "ours_step_high": float(high)}
