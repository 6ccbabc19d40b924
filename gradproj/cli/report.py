"""All that ``gradproj table`` writes, and ``report.html`` beside it: one page to open in a browser.

Takes ``<results>/runs`` (your own) and ``<results>/*/runs`` (others', the committed ones among them), each by itself.
"""

import argparse
from pathlib import Path

SIDE = 256


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder that holds runs/")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels: a thumbnail's longer side, at most")
    given = parser.parse_args(arguments)
    from gradproj.report import page, roots

    for root in roots(given.results):
        written = page.build(root, given.side)
        size = written[-1].stat().st_size / 1e6
        print(f"{len(written) - 1} tables and plots under {root}")
        print(f"{written[-1]} ({size:.1f} MB): open it in a browser, {written[-1].resolve().as_uri()}")
    return 0
