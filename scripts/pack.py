"""Pack the CSVs of every run under a folder into one archive a run, or unpack them: pack.py [--unpack] FOLDER."""

import argparse
import sys
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs.packing import pack, unpack
from gradproj.runs.records import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results"))
    parser.add_argument("--unpack", action="store_true")
    arguments = parser.parse_args()
    configs = sorted(arguments.folder.glob("**/runs/*/config.yaml"))
    if not configs:
        sys.exit(
            f"pack: no run under {arguments.folder}, expected .../runs/<run id>/config.yaml; make one: gradproj-run"
        )
    try:
        for config in configs:
            run = Run.open(config.parent)
            print(f"{run.folder}: {unpack(run) if arguments.unpack else pack(run)} records")
    except UserError as error:
        print(f"pack: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
