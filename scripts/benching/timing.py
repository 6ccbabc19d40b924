"""Several pieces of work in turn, and how long each takes against one of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Median seconds of a piece of work, and its ratio to the one it is held against: median, least and most."""

    seconds: float
    ratio: float
    least: float
    most: float

    @property
    def against(self) -> str:
        """The ratio as the tables have it."""
        return f"{self.ratio:.3f} ({self.least:.3f} to {self.most:.3f})"


def in_turn(
    works: Mapping[str, Work],
    base: str,
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timed]:
    """Run all ``works`` in every round, each ``calls`` times, and compare each with ``base`` of the same round.

    Every other round goes backwards, and a round before the first does not count. The default clock counts the
    processor's seconds, which for work of one thread are those of a quiet machine.
    """
    rows: list[dict[str, float]] = []
    for number in range(rounds + 1):
        row: dict[str, float] = {}
        for name in list(works)[:: -1 if number % 2 else 1]:
            since = clock()
            for _ in range(calls):
                works[name]()
            row[name] = (clock() - since) / calls
        rows.append(row)
    return {name: _timed([row[name] for row in rows[1:]], [row[base] for row in rows[1:]]) for name in works}


def _timed(own: list[float], others: list[float]) -> Timed:
    ratios = [one / other for one, other in zip(own, others, strict=True)]
    return Timed(statistics.median(own), statistics.median(ratios), min(ratios), max(ratios))
