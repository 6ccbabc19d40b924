"""Which steps of a run get official scores: close together where a run climbs fast, at its beginning."""

from itertools import count, takewhile

GEOMETRIC = "geometric"
EARLY = 60  # the step at which the paper reports each method a first time


def scored_steps(last: int, every: int | str) -> list[int]:
    """The steps from 0 to ``last``, both included, that are scored; the best step is scored beside them.

    ``every`` is a number k, for every k-th step, or GEOMETRIC: floor(10 * 2 ** (k / 2)) for k = -7, -6, ..., that is
    0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80, ..., and EARLY.
    """
    if every == GEOMETRIC:
        grown = (int(10 * 2 ** (k / 2)) for k in count(-7))
        return sorted({*takewhile(lambda step: step < last, grown), *([EARLY] if last > EARLY else []), last})
    return sorted({*range(0, last, int(every)), last})
