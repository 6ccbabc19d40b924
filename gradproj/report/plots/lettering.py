"""What the sheets of pictures share: a font in pixels, text that fits, pictures of one size, short names of scores."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image as Pillow
from PIL import ImageFont
from PIL.Image import Image as Picture

from gradproj.runs.pictures import open_rgb

INK, FAINT, PAPER = "#1b1f24", "#5c6570", "#ffffff"


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the plots, which comes with matplotlib, ``size`` pixels high."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def cut(text: str, width: float | int, letters: ImageFont.FreeTypeFont) -> str:
    """As much of ``text`` as fits in ``width`` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def square(path: Path, side: int) -> Picture:
    """A saved picture as a square of ``side`` pixels; a smaller one keeps its sharp pixels."""
    picture = open_rgb(path)
    method = Pillow.Resampling.NEAREST if max(picture.size) < side else Pillow.Resampling.LANCZOS
    return picture.resize((side, side), method)


def without_prefix(scores: Sequence[str]) -> list[str]:
    """Names without the first words that all share: shapes_matcher, shapes_heldout -> matcher, heldout."""
    words = [score.split("_") for score in scores]
    shared = 0
    while all(len(name) > shared + 1 and name[shared] == words[0][shared] for name in words):
        shared += 1
    return ["_".join(name[shared:]) for name in words]


def png(canvas: Picture) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()
