"""Where a run's time goes, phase by phase (``profile=true``); ``watched`` measures the loop.

A phase lasts until the next one begins, so that every second belongs to one. On a GPU the moments are CUDA events that
are read when they have passed: nothing waits for the device that does not wait in a plain run.
"""

import csv
import io
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from gradproj.files import place

REST = "rest"  # what no other phase has: the run's folder, the loop itself, rows of records, progress
PHASES: tuple[str, ...] = ("text", "load", "compile", "generator", "decoder", "reward")
PHASES += ("backward of reward", "backward of decoder", "backward of generator")
PHASES += ("direction", "optimiser", "retraction", "scoring", "saving", REST)
COLUMNS = ("phase", "calls", "seconds")


class Profile:
    """``with profile("scoring"):`` measures on ``device``. All time that nobody claims is ``REST``'s.

    ``seconds`` and ``calls`` have what has passed, by the names of PHASES.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds, self.calls = dict.fromkeys(PHASES, 0.0), dict.fromkeys(PHASES, 0)
        self.moments: deque[tuple[str, Any]] = deque([(REST, self._now())])  # a phase, and when it began

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        before = self.moments[-1][0]
        self.begin(phase)
        try:
            yield
        finally:
            self.begin(before)

    def begin(self, phase: str) -> None:
        """The phase before ends here."""
        self.calls[phase] += phase != self.moments[-1][0]
        self.moments.append((phase, self._now()))
        self._read()

    def _read(self) -> None:
        """Add up what has passed."""
        while len(self.moments) > 1 and self._is_past(self.moments[1][1]):
            (passed, since), (_, until) = self.moments.popleft(), self.moments[0]
            self.seconds[passed] += self._between(since, until)

    def table(self) -> str:
        """The phases that there were, for a person."""
        rows = self._rows()
        total = sum(seconds for _, _, seconds in rows)
        shown = [(phase, count, f"{seconds:.3f}", f"{seconds / total:.1%}") for phase, count, seconds in rows]
        return tabulate(shown, [*COLUMNS, "share"], tablefmt="plain", disable_numparse=True, stralign="right")

    def write(self, path: Path) -> None:
        """The same as a CSV file, without the shares."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((phase, count, f"{seconds:.6f}") for phase, count, seconds in self._rows())
        place(path, text.getvalue().encode())

    def _rows(self) -> list[tuple[str, int, float]]:
        self.begin(REST)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self._read()
        return [(phase, self.calls[phase], self.seconds[phase]) for phase in PHASES if self.calls[phase]]

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _is_past(self, moment: Any) -> bool:
        return isinstance(moment, float) or moment.query()

    def _between(self, since: Any, until: Any) -> float:
        return until - since if isinstance(since, float) else since.elapsed_time(until) / 1000


def phase(profile: Profile | None, name: str) -> AbstractContextManager[None]:
    """A block of the phase ``name``, where there is a profile."""
    return profile(name) if profile else nullcontext()
