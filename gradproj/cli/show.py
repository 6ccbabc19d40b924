"""Show a run or one of its images here, in the terminal: ``gradproj show RUN [IMAGE]``.

The curve of the climbed reward, the official scores at the start, at the best and at the last step, and where the
pictures are; without IMAGE a line for each image. A terminal that draws pictures (kitty, Ghostty, iTerm2, WezTerm, and
those with sixels) has start and kept picture, too. Nothing is opened, and nothing is written.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from gradproj.runs import meant, sixel, terminal
from gradproj.runs.pictures import first_ones, start_and_kept

LEAST = 40  # characters of a line
SIDE = 256  # pixels of a picture of one image


def main(arguments: list[str]) -> int:
    """Print the lines, and pictures where the terminal draws them; returns 0."""
    parser = argparse.ArgumentParser(
        prog="gradproj show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder results/runs/<run id>, or its id")
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="0003-1, or a part of a prompt")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder in which RUN is looked for")
    parser.add_argument("--no-pictures", action="store_true", help="lines alone, in every terminal")
    given = parser.parse_args(arguments)
    run = meant.run(given.run, given.results)
    images = [] if given.image is None else meant.images(run, given.image)
    from gradproj.report import show

    width = max(LEAST, shutil.get_terminal_size((100, 24)).columns)
    paper = show.Paper(width, terminal.blocks(sys.stdout.encoding))
    draw = None if given.no_pictures or not sys.stdout.isatty() else terminal.drawing(os.environ, sixel.understood)
    for number, image in enumerate(images or [None]):
        if number:
            print()
        for line in show.image_lines(run, image, paper) if image else show.run_lines(run, paper):
            print(terminal.printable(line))
        png = (start_and_kept(run, image, SIDE) if image else first_ones(run)) if draw else None
        if draw and png:
            print(draw(png))
    return 0
