"""The same images under several runs, a row a run, starts on top: compare_pictures.py OUT.png RUN_FOLDER ...

Needs the runs' PNGs, which are not in git. Takes the first 12 images that all runs have.
"""

import sys
from pathlib import Path

from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.pictures import sheet


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    out, *folders = map(Path, sys.argv[1:])
    runs = [Run.open(folder) for folder in folders]
    columns = [
        [runs[0].start(image), *(run.kept(image) for run in runs)] for image in sorted(runs[0].recorded(), key=str)
    ]
    whole = [column for column in columns if all(path.exists() for path in column)][:12]
    if not whole:
        sys.exit(f"{', '.join(map(str, folders))} share no pictures: expected images/*.png in each")
    place(out, sheet(whole, side=64, across=12))
    print(f"{out}: rows start, {', '.join(run.folder.name for run in runs)}")


if __name__ == "__main__":
    main()
