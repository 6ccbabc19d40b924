"""The same images under every method of a comparison: a column for each image, the starts above the methods' pictures.

Under a picture stand its scores, the target first, with a mark where a held-out score is lower than at the start.
"""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from gradproj.report.compare import START, Comparison
from gradproj.report.first_images import first_images
from gradproj.report.gap import held_out
from gradproj.report.load import Curves
from gradproj.report.plots.lettering import FAINT, INK, PAPER, cut, font, png, square, without_prefix
from gradproj.report.table import digits

SIDE, GUTTER, TEXT, LINE = 192, 16, 18, 25  # pixels, twice as many as on the screen
FELL, WARNING = "▼", "#b4470a"


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> PNG of the first images whose pictures all runs have; a comparison without any has no file."""
    chosen = {comparison.name: (comparison, first_images(comparison)) for comparison in comparisons}
    return {f"pictures-{name}.png": sheet(*of) for name, of in chosen.items() if of[1]}


def sheet(comparison: Comparison, images: Sequence[int], numbers: bool = True) -> bytes:
    """A PNG of ``images``, indices in the order of all runs. Their pictures must be there; ``numbers`` adds scores."""
    first = next(iter(comparison.methods.values()))
    rows = [(START, first, 0), *((label, curves, -1) for label, curves in comparison.methods.items())]
    top, band = 2 * LINE + GUTTER, LINE + SIDE + GUTTER + LINE * len(comparison.scores) * numbers
    canvas = Pillow.new("RGB", (GUTTER + len(images) * (SIDE + GUTTER), GUTTER + top + len(rows) * band), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, image in enumerate(images):
        x = GUTTER + column * (SIDE + GUTTER)
        for line, text in enumerate(_two_lines(str(first.run.config["prompts"][first.images[image].prompt]))):
            draw.text((x, GUTTER + line * LINE), text, INK, font(TEXT))
        for row, (_, curves, point) in enumerate(rows):
            y = top + row * band + LINE + GUTTER // 2
            path = curves.run.pictures(curves.images[image])["kept" if point else "start"]
            canvas.paste(square(path, SIDE), (x, y))
            lines = _scores(comparison, curves, image, point) if numbers else []
            for line, (text, colour) in enumerate(lines):
                draw.text((x, y + SIDE + 3 + line * LINE), text, colour, font(TEXT))
    for row, (label, _, _) in enumerate(rows):
        draw.text((GUTTER, top + row * band + GUTTER // 4), label, INK, font(TEXT, bold=True))
    return png(canvas)


def _scores(comparison: Comparison, curves: Curves, image: int, point: int) -> Iterator[tuple[str, str]]:
    """The lines under a picture and their colours; ``point`` is 0 for the start and -1 for what was kept."""
    others = held_out(curves, comparison.scores)
    for place, (score, short) in enumerate(zip(comparison.scores, without_prefix(comparison.scores), strict=True)):
        ends = curves.scores[score][:, [0, -1]]
        value, decimals = ends[image, point], max(0, digits(ends.ravel().tolist()) - 1)
        fell = point != 0 and score in others and round(value, decimals) < round(ends[image, 0], decimals)
        text = f" {value:.{decimals}f}{f' {FELL}' if fell else ''}" if np.isfinite(value) else " -"
        name = cut(short, SIDE - font(TEXT).getlength(text), font(TEXT))
        yield f"{name}{text}", WARNING if fell else FAINT if place else INK


def _two_lines(prompt: str) -> list[str]:
    """A prompt in at most two lines that are as wide as a picture."""
    words = " ".join(prompt.split())
    lines = textwrap.wrap(words, int(SIDE / (0.56 * TEXT)), max_lines=2, placeholder=" …", break_long_words=True)
    return [cut(line, SIDE, font(TEXT)) for line in lines]
