"""What happened in a comparison, in two sentences: under how many methods the target rose and held-out scores fell."""

from collections import defaultdict

import numpy as np

from gradproj.report.compare import Comparison
from gradproj.report.gap import held_out
from gradproj.report.load import Curves


def verdict(comparison: Comparison) -> str:
    """By the means over the images, of the start and of what was kept."""
    changes = {label: _change(curves, comparison.target) for label, curves in comparison.methods.items()}
    rose = sum(change > 0 for change in changes.values())
    most = f", most under {max(changes, key=lambda label: changes[label])}" if rose > 1 else ""
    climbed = f"{comparison.target} was climbed and rose{_under(rose, len(changes))}{most}."
    others = held_out(next(iter(comparison.methods.values())), comparison.scores)
    falls: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for score in others:
        falls[_falls(comparison, score)].append(score)
    fell = [f"{_listed(scores)}{_under(*falls)}" for falls, scores in falls.items() if falls[0]]
    said = f"Held-out scores that fell: {'; '.join(fell)}." if fell else "No held-out score fell." if others else ""
    return f"{climbed} {said}".strip()


def _falls(comparison: Comparison, score: str) -> tuple[int, int]:
    """Under how many methods the mean of ``score`` fell, of how many that have the score."""
    changes = [_change(curves, score) for curves in comparison.methods.values()]
    return sum(change < 0 for change in changes), int(np.isfinite(changes).sum())


def _change(curves: Curves, score: str) -> float:
    """The mean of ``score`` at the last step minus that at the start; NaN where the run lacks it."""
    return float((curves.scores[score][:, -1] - curves.scores[score][:, 0]).mean())


def _under(count: int, methods: int) -> str:
    """``" under 3 of 5 methods"``; nothing for the one method of a comparison."""
    if count == methods:
        return "" if methods == 1 else f" under all {methods} methods"
    return f" under {count or 'none'} of {methods} method{'s' * (methods > 1)}"


def _listed(names: list[str]) -> str:
    """``"a, b and c"``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
