"""Check all records and write tables/ and plots/ beside them: ``python scripts/table.py [--results results]``.

Takes ``<results>/runs`` (your own) and ``<results>/*/runs`` (others', the committed ones among them), each by itself.
"""

import argparse
import sys
from pathlib import Path

from gradproj.errors import UserError
from gradproj.report import build, roots


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder that holds runs/")
    results = parser.parse_args().results
    try:
        for root in roots(results):
            written = build(root)
            print((root / "tables" / "main.md").read_text(encoding="utf-8"))
            print("\n".join(str(path) for path in written))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
