"""The numbers behind docs/results.md that no table has: ``python scripts/claims.py [results/miniature]``.

For every target: the earlier method that ends highest, and ours where its mean target reaches that level; ours' target
beside the earlier methods' at steps 28 and 100; what the held-out scores of none lost; and how many steps every method
needs to that level. In brackets 95 % intervals of means of paired differences, over prompts.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gradproj.report.bootstrap import Bootstrap
from gradproj.report.choose import find
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.curve import at, crossing, step_at

EARLIER = ("none", "reno", "prno", "mpgr")
STEPS = (28, 100)


def main() -> None:
    for comparison in find(Path(sys.argv[1] if len(sys.argv) > 1 else "results/miniature")).comparisons:
        print("\n".join([f"## {comparison.title}", *lines(comparison)]))


def lines(comparison: Comparison) -> Iterable[str]:
    """One comparison's numbers."""
    bootstrap, (target, *held_out) = Bootstrap(comparison.prompts), comparison.scores
    ours, means = comparison.methods[BASELINE], {}
    for label, curves in comparison.methods.items():
        means[label] = curves.scores[target].mean(0)
    earlier = [label for label in EARLIER if label in means]
    best = max(earlier, key=lambda label: means[label][-1])
    level = means[best][-1]
    there = crossing(means[BASELINE], level)
    yield f"{best} ends at {level:.4f}; ours is there at step {step_at(ours.steps, there):.1f}, where"

    def shown(values: np.ndarray) -> str:
        low, high = bootstrap.interval(values)
        return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"

    for score in held_out:
        values, start = at(ours.scores[score], there), ours.scores[score][:, 0]
        other = comparison.methods[best].scores[score][:, -1]
        yield f"  {score} {values.mean():.4f}, start {shown(values - start)}, {best} {shown(values - other)}"
    for step in STEPS:
        for label in earlier:
            curves = comparison.methods[label]
            here, beside = (one.scores[target][:, list(one.steps).index(step)] for one in (ours, curves))
            yield f"step {step}: ours {here.mean():.4f}, above {label} by {shown(here - beside)}"
    for score in held_out if "none" in means else []:
        scores = comparison.methods["none"].scores[score]
        yield f"none, {score}: {shown(scores[:, -1] - scores[:, 0])}"
    for label, curves in comparison.methods.items():
        if means[label].max() >= level:
            yield f"{label} needs {step_at(curves.steps, crossing(means[label], level)):.1f} steps"


if __name__ == "__main__":
    main()
