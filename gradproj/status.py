"""``gradproj-status``: what is there of every run, from the records alone. Imports no torch.

An image is recorded, or failed (tried, and to be tried again or given up), or missing; running are those of the last
two that a worker has under way, by its signs of life. Exit code 0: all that was wanted is recorded; 1: something is
not; 2: a message says what is wrong.
"""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gradproj.errors import UserError
from gradproj.records import Run


@dataclass(frozen=True)
class Status:
    """Counts of one run's wanted images, why the failed ones failed (reason of the last attempt -> images)."""

    run: Run
    wanted: int
    recorded: int
    reasons: Counter[str]
    running: int  # images that live workers have under way: part of the missing, or of the failed that are tried again

    @property
    def failed(self) -> int:
        return self.reasons.total()

    @property
    def missing(self) -> int:
        return self.wanted - self.recorded - self.failed


def status(run: Run) -> Status:
    """Look at one run: names and last lines of its records, so that 100,000 take seconds."""
    recorded = run.recorded()
    seeds = max([1, run.asked, *(1 + int(name.partition("-")[2]) for name in recorded)])
    reasons = Counter(lines[-1] if lines else "no reason given" for lines in run.failures().values())
    return Status(run, len(run.config["prompts"]) * seeds, len(recorded), reasons, run.running())


def find(results: Path) -> list[Run]:
    """Every run under ``results/runs``; ``UserError`` where there is none."""
    folder = results / "runs"
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not found:
        raise UserError(f"{folder} holds no runs: give the folder that holds runs/, or type gradproj-run first")
    return [Run.open(path) for path in found]


def page(every: list[Status], results: Path) -> str:
    """A line per run and the reasons of the failures below."""
    width = max(len(one.run.folder.name) for one in every)
    lines = [f"{'run':<{width}}  recorded  failed  missing  running"]
    for one in every:
        counts = f"{one.recorded:>8}  {one.failed:>6}  {one.missing:>7}  {one.running:>7}"
        lines.append(f"{one.run.folder.name:<{width}}  {counts}")
    total = f"{sum(one.recorded for one in every)} of {sum(one.wanted for one in every)} images recorded"
    lines += ["", f"{total} in {len(every)} runs; logs of sweeps are in {results / 'logs'}"]
    for one in every:
        for reason, count in one.reasons.most_common(5):
            lines.append(f"{one.run.folder.name}: {count} failed: {reason[:200]} (see {one.run.images}/*.failed)")
    if any(one.recorded < one.wanted for one in every):
        lines.append("the same commands finish what is missing")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="gradproj-status", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder that holds runs/")
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="draw it again every so often, until all is done"
    )
    arguments = parser.parse_args()
    try:
        while True:
            every = [status(run) for run in find(arguments.results)]
            whole = all(one.recorded == one.wanted for one in every)
            clear = "\033[2J\033[H" if arguments.watch and sys.stdout.isatty() else ""
            print(clear + page(every, arguments.results), flush=True)
            if whole or not arguments.watch:
                sys.exit(0 if whole else 1)
            time.sleep(arguments.watch)
    except UserError as error:
        print(f"gradproj-status: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(1)
