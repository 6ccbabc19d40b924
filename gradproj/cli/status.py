"""Say how far the runs of a results folder are: what is recorded, what failed and why, what is missing or running.

Every wanted image is recorded, failed (the same command tries it again), given up (it failed more often than
max_retries allows) or missing. Running are the images that live workers are making at this moment. A damaged record
does not count, because the image is made again. A run that goes on has a bar, its images an hour, the time left at that
pace and the last pictures. The exit code is 0 where all that was wanted is recorded and scored,
1 where something is not or something in the folder is no run, and 2 where a message says what is wrong.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gradproj.runs.status import Status, statuses
from gradproj.runs.terminal import PLAIN, bar, blocks, printable


def seconds(text: str) -> float:
    """The argument of --watch; ``ValueError`` for what is no number above 0."""
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
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="draw it again so often (above 0; default: 10), until nothing is left to do",
    )
    given = parser.parse_args(arguments)
    while True:
        every, others = statuses(given.results)
        whole = bool(every) and not others and all(run.whole for run in every)
        clear = "\033[2J\033[H" if given.watch and sys.stdout.isatty() else ""
        print(clear + page(every, others, given.results, blocks(sys.stdout.encoding)), flush=True)
        if not given.watch or (every and not any(run.unfinished for run in every)):
            return 0 if whole else 1
        time.sleep(given.watch)


def page(every: Sequence[Status], others: Sequence[str], results: Path, blocks: str = PLAIN) -> str:
    """A line for each run, and where it goes on a bar, its pace and its last pictures; then what is wrong or no run.

    ``blocks`` are the characters of a bar.
    """
    width = max([3, *(len(status.run.folder.name) for status in every)])
    lines = [f"{'run':<{width}}  recorded  failed  given up  missing  running"]
    for status in every:
        counts = f"{status.recorded:>8}  {status.failed:>6}  {status.given_up:>8}"
        counts += f"  {status.missing:>7}  {status.running:>7}"
        lines.append(f"{status.run.folder.name:<{width}}  {counts}")
        lines += _goes_on(status, blocks) if status.unfinished else []
    recorded, wanted = sum(status.recorded for status in every), sum(status.wanted for status in every)
    total = f"{recorded} of {wanted} images recorded"
    lines += ["", f"{total} in {len(every)} runs; logs of sweeps are in {results / 'logs'}"]
    for status in every:
        lines += _details(status)
    lines += others
    if any(status.unfinished for status in every):
        lines.append("the same commands finish what is missing")
    return "\n".join(map(printable, lines))


def _goes_on(status: Status, blocks: str) -> list[str]:
    """How far an unfinished run is, at which pace, and its last pictures."""
    share = status.recorded / status.wanted if status.wanted else 0.0
    words = f"  {bar(share, 24, blocks)} {100 * share:.0f} %"
    if status.hours_left is not None:
        words += f", {status.pace:.3g} images an hour, {_time(status.hours_left)} left"
    if not status.newest:
        return [words]
    start, kept = status.run.pictures(status.newest).values()
    return [words, f"  last: {start} -> {kept.name} (gradproj show {status.run.folder.name} {status.newest})"]


def _time(hours: float) -> str:
    minutes = round(hours * 60)
    return (
        f"about {minutes} min" if minutes < 120 else f"about {hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    )


def _details(status: Status) -> list[str]:
    """What is behind a run's counts, a line each."""
    name, reasons = status.run.folder.name, f"see {status.run.images}/*.failed"
    lines = [f"{name}: {count} images not yet scored by {reward}" for reward, count in status.unscored.items()]
    lines += [f"{name}: {count} failed: {why[:200]} ({reasons})" for why, count in status.failing.most_common(5)]
    for why, count in status.abandoned.most_common(5):
        lines.append(f"{name}: {count} given up: {why[:200]} ({reasons}; a greater max_retries=... tries them again)")
    return lines + [f"{name}: {problem}" for problem in status.problems]
