"""How far the runs of a results folder are, from the records alone: recorded, failed and why, missing, running.

Every wanted image is recorded, failed (the same command tries it again), given up (it failed more often than
max_retries says) or missing; running are those that a worker has under way by its signs of life. A damaged record does
not count, because it is made again. Exit code 0: all that was wanted is recorded and scored; 1: something is not, or
something in the folder is no run; 2: a message says what is wrong.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gradproj.runs.status import Status, statuses


def seconds(text: str) -> float:
    """What --watch takes."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="?", default=Path("results"), help="the folder that holds runs/")
    parser.add_argument(
        "--watch",
        type=seconds,
        metavar="SECONDS",
        help="draw it again so often (above 0), until nothing is left to do",
    )
    given = parser.parse_args(arguments)
    while True:
        every, others = statuses(given.results)
        whole = bool(every) and not others and all(one.whole for one in every)
        clear = "\033[2J\033[H" if given.watch and sys.stdout.isatty() else ""
        print(clear + page(every, others, given.results), flush=True)
        if not given.watch or (every and not any(one.unfinished for one in every)):
            return 0 if whole else 1
        time.sleep(given.watch)


def page(every: Sequence[Status], others: Sequence[str], results: Path) -> str:
    """A line per run; below it what is to be scored, why images failed, what is wrong and what is no run."""
    width = max([3, *(len(one.run.folder.name) for one in every)])
    lines = [f"{'run':<{width}}  recorded  failed  given up  missing  running"]
    for one in every:
        counts = f"{one.recorded:>8}  {one.failed:>6}  {one.given_up:>8}  {one.missing:>7}  {one.running:>7}"
        lines.append(f"{one.run.folder.name:<{width}}  {counts}")
    total = f"{sum(one.recorded for one in every)} of {sum(one.wanted for one in every)} images recorded"
    lines += ["", f"{total} in {len(every)} runs; logs of sweeps are in {results / 'logs'}"]
    for one in every:
        lines += _details(one)
    lines += others
    if any(one.unfinished for one in every):
        lines.append("the same commands finish what is missing")
    return "\n".join(lines)


def _details(one: Status) -> list[str]:
    name, reasons = one.run.folder.name, f"see {one.run.images}/*.failed"
    lines = [f"{name}: {count} images not yet scored by {reward}" for reward, count in one.unscored.items()]
    lines += [f"{name}: {count} failed: {why[:200]} ({reasons})" for why, count in one.failing.most_common(5)]
    for why, count in one.abandoned.most_common(5):
        lines.append(f"{name}: {count} given up: {why[:200]} ({reasons}; a greater max_retries=... tries them again)")
    return lines + [f"{name}: {problem}" for problem in one.problems]
