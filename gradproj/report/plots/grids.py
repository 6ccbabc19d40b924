"""The images of a method with the largest hacking gap, in one picture with captions: the start above what was kept."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from gradproj.report.compare import Comparison
from gradproj.report.gap import GAP, gap, held_out
from gradproj.report.load import Curves
from gradproj.report.plots.lettering import FAINT, INK, PAPER, cut, font, png, square, without_prefix
from gradproj.report.table import digits

WORST = 16
ACROSS = 8  # columns
SIDE, GUTTER, TEXT, LINE = 160, 14, 12, 16  # pixels


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> PNG, for every method that has images with a gap, if the PNGs of the worst of them are all there."""
    grids: dict[str, bytes] = {}
    for comparison in comparisons:
        for label, curves in comparison.methods.items():
            images = worst(curves, comparison.scores)
            if images and all(path.exists() for image in images for path in pair(curves, image)):
                grids[_free(grids, f"worst-{comparison.name}-{label}", curves)] = _grid(
                    comparison, label, curves, images
                )
    return grids


def worst(curves: Curves, scores: Sequence[str], most: int = WORST) -> list[int]:
    """Indices in ``curves.images`` of the ``most`` largest gaps, the largest first, without images that have no gap."""
    gaps = gap(curves, scores)
    order = np.argsort(-gaps, kind="stable")  # NaN last
    return order[np.isfinite(gaps[order])][:most].tolist()


def pair(curves: Curves, image: int) -> tuple[Path, Path]:
    """The PNGs of an image's start and of what was kept."""
    return curves.run.start(curves.images[image]), curves.run.kept(curves.images[image])


def _free(taken: dict[str, bytes], name: str, curves: Curves) -> str:
    """A file name from any text; where it is taken, the run's hash makes it another."""
    stem = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name).strip("-")
    return f"{stem}.png" if f"{stem}.png" not in taken else f"{stem}-{curves.run.folder.name[-8:]}.png"


def _grid(comparison: Comparison, label: str, curves: Curves, images: Sequence[int]) -> bytes:
    gaps = gap(curves, comparison.scores)
    across = min(ACROSS, len(images))
    width = max(GUTTER + across * (SIDE + GUTTER), 4 * SIDE)
    below = 4 + len(comparison.scores)  # lines: two of the prompt, name and gap, the scores, an empty one
    title = f"{comparison.name}, {label}: the {len(images)} of {len(gaps)} images with the largest hacking gap"
    others = ", ".join(held_out(curves, comparison.scores))
    note = f"{GAP} Held out: {others}. Start above, kept below; scores: start → kept."
    head = [*_wrapped(title, width), *_wrapped(note, width)]
    top, height = 2 * GUTTER + LINE * len(head), 2 * SIDE + LINE * below + 2 * GUTTER
    canvas = Pillow.new("RGB", (width, top + height * -(-len(images) // across)), PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, GUTTER, GUTTER, head, len(_wrapped(title, width)))
    for index, image in enumerate(images):
        band, column = divmod(index, across)
        x, y = GUTTER + column * (SIDE + GUTTER), top + band * height
        for row, path in enumerate(pair(curves, image)):
            canvas.paste(square(path, SIDE), (x, y + row * SIDE))
        _write(draw, x, y + 2 * SIDE + 4, _caption(comparison, curves, image, gaps[image]), 2)
    return png(canvas)


def _caption(comparison: Comparison, curves: Curves, image: int, gap: float) -> list[str]:
    """The lines under an image: two of its prompt, one of its name and gap, then its scores."""
    name = curves.images[image]
    prompt = str(curves.run.config["prompts"][name.prompt])
    lines = [f"{name}   gap {gap:+.2f}"]
    for score, short in zip(comparison.scores, without_prefix(comparison.scores), strict=True):
        ends = curves.scores[score][:, [0, -1]]
        decimals = max(0, digits(ends.ravel().tolist()) - 1)
        start, kept = (f"{value:.{decimals}f}" for value in ends[image])
        numbers = f" {start} → {kept}"
        lines.append(cut(short, SIDE - font(TEXT).getlength(numbers), font(TEXT)) + numbers)
    wrapped = textwrap.wrap(" ".join(prompt.split()), 23, max_lines=2, placeholder=" …", break_long_words=True)
    return [cut(line, SIDE, font(TEXT)) for line in [*wrapped, "", ""][:2]] + lines


def _write(draw: ImageDraw.ImageDraw, x: int, y: int, lines: Sequence[str], dark: int) -> None:
    """Write ``lines`` under each other from (x, y) down, in pixels: the first ``dark`` in black, the others in grey."""
    for index, line in enumerate(lines):
        draw.text((x, y + index * LINE), line, fill=INK if index < dark else FAINT, font=font(TEXT))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * GUTTER) / (0.56 * TEXT)))
