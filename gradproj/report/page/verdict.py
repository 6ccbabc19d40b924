"""What happened in a comparison, in two sentences: under how many methods the target rose and held-out scores fell.

A score clearly fell where the whole 95 % interval of its mean change is below 0; with a single prompt there is none.
"""

from collections import defaultdict

import numpy as np

from gradproj.report.bootstrap import Bootstrap
from gradproj.report.compare import Comparison
from gradproj.report.gap import held_out
from gradproj.report.load import Array, Curves


def verdict(comparison: Comparison) -> str:
    """By the means over the images, of the start and of what was kept."""
    changes = {label: float(_changes(curves, comparison.target).mean()) for label, curves in comparison.methods.items()}
    rose = sum(change > 0 for change in changes.values())
    most = f", most under the method {max(changes, key=lambda label: changes[label])}" if rose > 1 else ""
    climbed = f"{comparison.target} was climbed and rose{_under(rose, len(changes))}{most}."
    others = held_out(next(iter(comparison.methods.values())), comparison.scores)
    falls: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    bootstrap = Bootstrap(comparison.prompts)
    for score in others:
        falls[_falls(comparison, score, bootstrap)].append(score)
    fell = [f"{_listed(scores)}{_under(*falls)}" for falls, scores in falls.items() if falls[0]]
    said = f"Held-out scores that clearly fell: {'; '.join(fell)}." if fell else "No held-out score clearly fell."
    return f"{climbed} {said}" if others else climbed


def _falls(comparison: Comparison, score: str, bootstrap: Bootstrap) -> tuple[int, int]:
    """Under how many methods ``score`` clearly fell, of how many that have the score."""
    every = [_changes(curves, score) for curves in comparison.methods.values()]
    there = [changes for changes in every if np.isfinite(changes).all()]
    return sum(bootstrap.interval(changes)[1] < 0 for changes in there), len(there)


def _changes(curves: Curves, score: str) -> Array:
    """The score of what was kept minus that of the start, (images,); NaN where the run lacks it."""
    return curves.scores[score][:, -1] - curves.scores[score][:, 0]


def _under(count: int, methods: int) -> str:
    """``" under 3 of 5 methods"``; nothing for the one method of a comparison."""
    if count == methods:
        return "" if methods == 1 else f" under all {methods} methods"
    return f" under {count or 'none'} of {methods} method{'s' * (methods > 1)}"


def _listed(names: list[str]) -> str:
    """``"a, b and c"``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
