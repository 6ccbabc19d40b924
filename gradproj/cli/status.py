"""How far the runs of a results folder are, from the records alone: recorded, failed and why, missing, running.

An image is recorded, or failed (tried, and to be tried again or given up), or missing; running are those of the last
two that a worker has under way, by its signs of life. A damaged record does not count: it is to be made again. Exit
code 0: all that was wanted is recorded and scored; 1: something is not; 2: a message says what is wrong.
"""

import argparse
import sys
import time
from pathlib import Path

from gradproj.runs.status import look


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
        "--watch", type=seconds, metavar="SECONDS", help="draw it again every so often (above 0), until all is done"
    )
    given = parser.parse_args(arguments)
    while True:
        said, whole = look(given.results)
        clear = "\033[2J\033[H" if given.watch and sys.stdout.isatty() else ""
        print(clear + said, flush=True)
        if whole or not given.watch:
            return 0 if whole else 1
        time.sleep(given.watch)
