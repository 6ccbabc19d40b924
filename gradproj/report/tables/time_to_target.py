"""How soon ours reaches the level that each other method ends at: the paper's "30 % of the time"."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradproj.report import paper, render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Array, Curves
from gradproj.report.tables.equal_target import at, crossing

NOTE = (
    "Level: the mean target that each other method ends at. Ours at step, and seconds: where ours' mean target first "
    "reaches that level (linear between scored steps), and the share this is of the other's steps and seconds. In "
    f"brackets the 95 % interval of the step ({RESAMPLES} resamples of the prompts, level included). never: not within "
    "its steps. Bold: the highest level. Seconds are the records' own: compare them only where all runs had the "
    "machine to themselves."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text; none where there is no ours, or nothing beside it."""
    sections = [(comparison, own) for comparison in comparisons if (own := rows(comparison))]
    if not sections:
        return {}
    return {
        "time_to_target.csv": render.csv([row for _, own in sections for row in own]),
        "time_to_target.md": render.markdown("Time to target", NOTE, [_section(*section) for section in sections]),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of time_to_target.csv; ``ours_step`` and what follows from it blank where ours never gets there."""
    ours = comparison.methods.get(BASELINE)
    others = {label: curves for label, curves in comparison.methods.items() if curves is not ours}
    if ours is None:
        return []
    target, bootstrap = comparison.target, Bootstrap(comparison.prompts)
    mean, drawn = ours.scores[target].mean(0), bootstrap.means(ours.scores[target])
    lines = []
    for label, curves in others.items():
        ends, steps, seconds = curves.scores[target][:, -1], curves.steps[-1], curves.seconds[:, -1].mean()
        line = {"comparison": comparison.name, "target": target, "against": label, "run": curves.run.folder.name}
        line |= {"n": len(ends), "level": ends.mean(), "steps": int(steps), "seconds": seconds}
        line |= dict.fromkeys(("ours_step", "step_share", "ours_seconds", "seconds_share"), np.nan)
        line |= _interval(ours, drawn, bootstrap.means(ends))
        if mean.max() >= ends.mean():
            place = crossing(mean, ends.mean())
            own, taken = _step(ours, place), at(ours.seconds, place).mean()
            line |= {"ours_step": own, "step_share": own / steps}
            line |= {"ours_seconds": taken, "seconds_share": taken / seconds}
        lines.append(line | paper.time(comparison, label, int(steps)))
    return lines


def _step(curves: Curves, place: float) -> float:
    return float(np.interp(place, np.arange(len(curves.steps)), curves.steps))


def _interval(curves: Curves, means: Array, levels: Array) -> dict[str, float]:
    """Ends of the interval of the step over resamples; infinite where the level is not reached there."""
    pairs = zip(means, levels, strict=True)
    steps = [_step(curves, crossing(mean, level)) if mean.max() >= level else np.inf for mean, level in pairs]
    low, high = np.quantile(steps, [0.025, 0.975], method="nearest")
    return {"ours_step_low": float(low), "ours_step_high": float(high)}


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    digits, best = render.digits([line["level"] for line in lines]), max(line["level"] for line in lines)
    published = any("seconds_share_paper" in line for line in lines)
    body = []
    for line in lines:
        ends = ["never" if np.isinf(line[end]) else f"{line[end]:.0f}" for end in ("ours_step_low", "ours_step_high")]
        step = "never" if np.isnan(line["ours_step"]) else f"{line['ours_step']:.1f}"
        note = f"[{', '.join(ends)}]" if len(np.unique(comparison.prompts)) > 1 else ""
        level = render.Cell(f"{line['level']:.{digits}f}", bold=bool(line["level"] == best))
        cells = [
            render.Cell(line["against"]),
            level,
            render.Cell(str(line["steps"])),
            render.Cell(f"{line['seconds']:.4g}"),
        ]
        cells += [render.Cell(step, note), render.Cell(_percent(line["step_share"]))]
        cells += [render.Cell(render.number(line["ours_seconds"], 2)), render.Cell(_percent(line["seconds_share"]))]
        cells += [render.Cell(_percent(line.get("seconds_share_paper", np.nan)))] if published else []
        body.append([*cells, render.Cell(str(line["n"]))])
    header = ["against", "level", "steps", "s/image", "ours at step", "of its steps", "ours s/image", "of its seconds"]
    return render.Section(comparison.title, [*header, *(["paper"] if published else []), "n"], body)


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{share:.0%}"
