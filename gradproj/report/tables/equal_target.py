"""Methods at equal target: how soon each reaches a level of the target, and how its images score otherwise there."""

from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference
from gradproj.report.compare import BASELINE, START, Comparison
from gradproj.report.curve import at, between, crossing, step_at
from gradproj.report.table import Column, Row, Table

SHARES = (0.5, 0.75, 1.0)  # of the way from the start to the highest level that every method's mean reaches
TITLE = "Methods at equal target"
NOTE = (
    f"Level: a share of the way from the {START} to the highest mean target that every method reaches. Step: where a "
    "method's mean target first reaches it, linear between the two scored steps around it, which are named. Held-out "
    f"scores: means at that step, in brackets their 95 % interval ({RESAMPLES} resamples of the prompts, the crossing "
    "held fixed); the paired differences to ours are in equal_target.csv."
)


def table(comparison: Comparison) -> Table:
    """A row for each level and method: the step and seconds at which it gets there, and the held-out means there."""
    target, *held_out = comparison.scored_everywhere
    four = ".{digits}f"
    columns = [Column("level", target, four), Column("share", form=".0%"), Column("method"), Column("step", form=".1f")]
    columns += [Column("between_steps", "between steps"), Column("seconds_per_image", "s/image", ".4g")]
    columns += [Column(score, form=four, ends=score) for score in held_out]
    return Table(comparison.title, [*columns, Column("n")], rows(comparison), NOTE)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of equal_target.csv, one for each level and method.

    For every held-out score S a line has its mean ``S`` with ``S_low`` and ``S_high``, and in ``S_ours_minus`` with its
    ``_low`` and ``_high`` how much more ours scores at that level, a mean of paired differences.
    """
    target, *held_out = comparison.scored_everywhere
    bootstrap = Bootstrap(comparison.prompts)
    means = {label: curves.scores[target].mean(0) for label, curves in comparison.methods.items()}
    start = next(iter(means.values()))[0]
    top = min(mean.max() for mean in means.values())
    ours = comparison.methods.get(BASELINE)
    lines = []
    for share in SHARES:
        level = min(top, (1 - share) * start + share * top)  # rounding must not lift it over what is reached
        for label, curves in comparison.methods.items():
            position = crossing(means[label], level)
            line = comparison.names | {"share": share, "level": level, "method": label, "run": curves.run.folder.name}
            line |= {"n": len(comparison.prompts), "step": step_at(curves.steps, position)}
            line |= {"between_steps": between(curves.steps, position)}
            line |= {"seconds_per_image": at(curves.seconds, position).mean()}
            for score in held_out:
                values = at(curves.scores[score], position)
                low, high = bootstrap.interval(values)
                line |= {score: values.mean(), f"{score}_low": low, f"{score}_high": high}
                if ours is not None and ours is not curves:
                    gap = at(ours.scores[score], crossing(means[BASELINE], level)) - values
                    line |= difference(f"{score}_ours_minus", gap, bootstrap)
            lines.append(line)
    return lines
