"""The numbers behind docs/results.md that no table has: ``python scripts/claims.py [results/miniature]``.

For every target: the earlier method that ends highest, and ours where its mean target reaches that level; ours' target
beside the earlier methods' at steps 28 and 100; what the held-out scores of none lost; how many steps every method
needs to that level; and how much more ours dominates than each earlier method where no later one moves the corner. In
brackets 95 % intervals of means of paired differences, over prompts.

For results/miniature_ablation_block: how much more each block dominates than a block of 16, as shares of the box.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gradproj.errors import UserError
from gradproj.report.bootstrap import Bootstrap
from gradproj.report.choose import find
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.curve import at, crossing, step_at
from gradproj.report.tables import hypervolume

BLOCK = "ours (block=16)"
EARLIER = ("none", "reno", "prno", "mpgr")
STEPS = (28, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results/miniature"))
    try:
        found = find(parser.parse_args().folder).comparisons
    except UserError as error:
        sys.exit(str(error))
    for comparison in found:
        told = blocks if BLOCK in comparison.methods else lines
        print("\n".join([f"## {comparison.title}", *told(comparison)]))


def blocks(comparison: Comparison) -> Iterable[str]:
    """How much more area each block dominates than a block of 16."""
    methods = {BASELINE if label == BLOCK else label: curves for label, curves in comparison.methods.items()}
    for row in hypervolume.rows(replace(comparison, methods=methods)):
        if row["method"] != BASELINE:
            more, low, high = -row["ours_minus"], -row["ours_minus_high"], -row["ours_minus_low"]
            yield f"{row['method']}, {row['held_out']}: {more:+.4f} [{low:+.4f}, {high:+.4f}]"


def lines(comparison: Comparison) -> Iterable[str]:
    """One comparison's numbers; nothing where ours was not run."""
    if BASELINE not in comparison.methods:
        return
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
    for step in sorted(set(STEPS).intersection(ours.steps)):
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
    alone = {label: comparison.methods[label] for label in (*earlier, BASELINE)}
    for row in hypervolume.rows(replace(comparison, methods=alone)):
        if row["method"] != BASELINE:
            more, low, high = (row[f"ours_minus{end}"] for end in ("", "_low", "_high"))
            yield f"area over {row['method']} alone, {row['held_out']}: {more:+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    main()
