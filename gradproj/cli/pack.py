"""Pack the records of a run into a single file, or of every run of a results folder; --unpack is the reverse.

Only whole records are packed, and they come back byte for byte. A packed run can be tabulated, replayed and continued
like any other.
"""

import argparse
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs.contents import PACKED
from gradproj.runs.folder import Run
from gradproj.runs.packing import pack, unpack


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gradproj pack", description=__doc__)
    parser.add_argument("folder", type=Path, help="one run, results/runs/<run id>, or a folder that holds runs/")
    parser.add_argument("--unpack", action="store_true", help="from the one file back to a file an image")
    given = parser.parse_args(arguments)
    for folder in _runs(given.folder):
        run = Run.open(folder)
        if given.unpack and not (run.folder / PACKED).exists():
            print(f"{run.folder}: is not packed, nothing is done")
        else:
            print(f"{run.folder}: {unpack(run) if given.unpack else pack(run)} records")
    return 0


def _runs(folder: Path) -> list[Path]:
    """The folders of the runs that are meant: ``folder`` itself, or all in its runs/."""
    if (folder / "config.yaml").is_file():
        return [folder]
    found = [config.parent for config in sorted((folder / "runs").glob("*/config.yaml"))]
    if not found:
        raise UserError(
            f"{folder} is no run and holds none: give results/runs/<run id>, or the folder that holds runs/"
        )
    return found
