"""Pictures side by side, from the PNGs of a run."""

import io
from itertools import islice
from pathlib import Path

from PIL import Image as Pillow

from gradproj.records import place


def before_after(images: Path, most: int = 16, side: int = 96) -> Path | None:
    """Start above, kept below, for the first ``most`` images of a run; the PNG's path in the run's folder.

    None where there are no PNGs, as in a packed run that came without them.
    """
    both = ((start, start.with_name(start.name.replace("-start", ""))) for start in sorted(images.glob("*-start.png")))
    pairs = list(islice((pair for pair in both if pair[1].exists()), most))
    if not pairs:
        return None
    columns = min(8, len(pairs))
    rows = -(-len(pairs) // columns)
    gap = side // 8
    sheet = Pillow.new("RGB", (columns * side, rows * (2 * side + gap)), "white")
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        for half, path in enumerate(pair):
            with Pillow.open(path) as picture:
                small = picture.width < side
                resized = picture.resize(
                    (side, side), Pillow.Resampling.NEAREST if small else Pillow.Resampling.LANCZOS
                )
                sheet.paste(resized, (column * side, row * (2 * side + gap) + half * side))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    place(images.parent / "before_after.png", buffer.getvalue())
    return images.parent / "before_after.png"
