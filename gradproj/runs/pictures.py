"""Pictures side by side, from the PNGs of a run."""

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw
from PIL.Image import Image as Picture

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.record import picture_hash

LABEL = 14  # pixels: the height of a line of text


def before_after(run: Run, most: int = 16) -> Path | None:
    """``first_ones`` as a file in the run's folder; its path, None where there are no PNGs."""
    made = first_ones(run, most)
    if made is None:
        return None
    place(run.folder / "before_after.png", made)
    return run.folder / "before_after.png"


def first_ones(run: Run, most: int = 16) -> bytes | None:
    """A PNG: start above, kept below, for the first ``most`` images of a run.

    None where there are no PNGs, as in a packed run that came without them.
    """
    recorded = run.scan().recorded
    both = ((recorded[image], run.pictures(image)) for image in sorted(recorded, key=str))
    there = ((own, pair) for own, pair in both if all(path.exists() and path.stat().st_size for path in pair.values()))
    pairs = [[open_rgb(path, own.get(kind)) for kind, path in pair.items()] for own, pair in islice(there, most)]
    return sheet(pairs) if pairs else None


def start_and_kept(run: Run, image: ImageId, side: int) -> bytes | None:
    """A PNG: those of an image's start and kept picture that are here, side by side; None where there is neither."""
    hashes = run.scan().recorded[image]
    there = {kind: path for kind, path in run.pictures(image).items() if path.exists()}
    labelled = [(kind, open_rgb(path, hashes.get(kind))) for kind, path in there.items()]
    return strip(labelled, side) if labelled else None


def open_rgb(path: Path, sha256: str | None = None) -> Picture:
    """A saved picture in memory; ``UserError`` for one that is cut, missing or none.

    ``sha256`` is the picture's own as its record has it; another picture in its place is a ``UserError`` too.
    """
    try:
        with Pillow.open(path, formats=["PNG"]) as file:
            picture = file.convert("RGB")
    except (OSError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise UserError(
            f"{path} is cut or no picture ({error}): bring it back, or delete it and make it again with gradproj replay"
        ) from error
    if sha256 is not None:
        expect(path, picture_hash(picture), sha256)
    return picture


def expect(path: Path, came: str, recorded: str | None) -> None:
    """``UserError`` where the hash that ``came`` of the picture at ``path`` is not what its record has."""
    if recorded not in (None, came):
        raise UserError(
            f"{path} is not the picture that was recorded, but another one or an edited one: bring the right one back, "
            "or delete it and make it again with gradproj replay"
        )


def sheet(columns: Sequence[Sequence[Picture]], side: int = 96, across: int = 8) -> bytes:
    """A PNG: each of ``columns`` is some pictures one above the other; after ``across`` of them a new band begins."""
    height, gap = len(columns[0]) * side, side // 8
    bands = -(-len(columns) // across)
    canvas = Pillow.new("RGB", (min(across, len(columns)) * side, bands * (height + gap) - gap), "white")
    for index, column in enumerate(columns):
        band, x = divmod(index, across)
        for row, picture in enumerate(column):
            canvas.paste(_square(picture, side), (x * side, band * (height + gap) + row * side))
    return _png(canvas)


def strip(steps: Sequence[tuple[str, Picture]], side: int = 128, across: int = 11) -> bytes:
    """A PNG: pictures in reading order, each with its label above; ``across`` of them in a row."""
    rows = -(-len(steps) // across)
    canvas = Pillow.new("RGB", (min(across, len(steps)) * side, rows * (side + LABEL)), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (text, picture) in enumerate(steps):
        row, column = divmod(index, across)
        draw.text((column * side + 2, row * (side + LABEL) + 1), text, fill="black")
        canvas.paste(_square(picture, side), (column * side, row * (side + LABEL) + LABEL))
    return _png(canvas)


def _square(picture: Picture, side: int) -> Picture:
    method = Pillow.Resampling.NEAREST if picture.width < side else Pillow.Resampling.LANCZOS
    return picture.resize((side, side), method)


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
