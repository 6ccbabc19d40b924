"""Several pieces of work in turn, and how long each takes against one of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Timed:
    """Median seconds of a piece of work, and in every round its ratio to the one that it is held against."""

    seconds: float
    ratios: Sequence[float]

    @property
    def against(self) -> str:
        """The ratio as the tables have it."""
        return spread(self.ratios, 3)


def spread(values: Sequence[float], decimals: int) -> str:
    """Median, least and most of the rounds, as the tables have them."""
    middle, least, most = (f"{one:.{decimals}f}" for one in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def in_turn(works: Mapping[str, Work], base: str, rounds: int, calls: int = 1) -> dict[str, Timed]:
    """Run all ``works`` in every round, each ``calls`` times, and compare each with ``base`` of the same round.

    Every other round goes backwards, and a round before the first does not count. The clock counts the processor's
    seconds, which for work of one thread are those of a quiet machine.
    """
    rows: list[dict[str, float]] = []
    for number in range(rounds + 1):
        row: dict[str, float] = {}
        for name in list(works)[:: -1 if number % 2 else 1]:
            since = time.process_time()
            for _ in range(calls):
                works[name]()
            row[name] = (time.process_time() - since) / calls
        rows.append(row)
    counted = rows[1:]
    return {
        name: Timed(statistics.median(row[name] for row in counted), [row[name] / row[base] for row in counted])
        for name in works
    }
