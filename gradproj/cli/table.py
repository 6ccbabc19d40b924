"""Check all records of a results folder and write tables/ and plots/ beside them.

Takes ``<results>/runs`` (your own) and ``<results>/*/runs`` (others', the committed ones among them), each by itself.
"""

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder that holds runs/")
    results = parser.parse_args(arguments).results
    from gradproj.report import build, roots

    for root in roots(results):
        written = build(root)
        print((root / "tables" / "main.md").read_text(encoding="utf-8"))
        print("\n".join(str(path) for path in written))
    return 0
