"""All that ``table.py`` writes, and one page to open in a browser: ``python scripts/report.py [--results results]``.

Takes ``<results>/runs`` (your own) and ``<results>/*/runs`` (others', the committed ones among them), each by itself,
and writes ``report.html`` beside each ``runs``.
"""

import argparse
import sys
from pathlib import Path

from gradproj.errors import UserError
from gradproj.report import page, roots


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder that holds runs/")
    parser.add_argument("--side", type=int, default=page.SIDE, help="pixels: a thumbnail's longer side, at most")
    arguments = parser.parse_args()
    results = arguments.results
    try:
        for root in roots(results):
            written = page.build(root, arguments.side)
            size = written[-1].stat().st_size / 1e6
            print(f"{len(written) - 1} tables and plots under {root}")
            print(f"{written[-1]} ({size:.1f} MB): open it in a browser, {written[-1].resolve().as_uri()}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
