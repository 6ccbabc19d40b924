"""Small copies of the runs' pictures as data URIs, each picture only once."""

import base64
import contextlib
import hashlib
import io
from pathlib import Path

from PIL import Image as Pillow
from PIL.Image import Image as Picture

from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import expect, open_rgb
from gradproj.runs.record import picture_hash

BLOCK = 64  # so many pictures are parsed together, as soon as one of them is near the visible part of the page
AS_IT_IS = 64  # pixels: a PNG whose sides are not longer is taken as it is
STRIP = 1536  # pixels: a strip of steps is made at most so long
QUALITY = 80


class Thumbnails:
    """Collects pictures. Equal files, such as the start that all methods share, are kept once."""

    def __init__(self, side: int) -> None:
        """``side`` is the length of a thumbnail's longer side in pixels, at most."""
        self.side = side
        self._numbers: dict[bytes, tuple[int, str]] = {}  # a file's hash -> its number, and its picture's hash
        self._pictures: list[str] = []

    def add(self, path: Path, wide: bool = False, sha256: str | None = None) -> int:
        """The picture's number in the page. A ``wide`` one is a strip of many; ``sha256`` as its record has it.

        ``UserError`` for a picture that is cut, and for another one than was recorded.
        """
        key = hashlib.sha256(path.read_bytes()).digest()
        if key not in self._numbers:
            picture = open_rgb(path)
            self._numbers[key] = len(self._pictures), picture_hash(picture)
            self._pictures.append(_small(path, picture, STRIP if wide else self.side))
        number, own = self._numbers[key]
        expect(path, own, sha256)
        return number

    def blocks(self) -> list[list[str]]:
        """All pictures in the order of their numbers, in lists of BLOCK pictures; the last list may be shorter."""
        return [self._pictures[first : first + BLOCK] for first in range(0, len(self._pictures), BLOCK)]


def pictures(run: Run) -> dict[ImageId, dict[str, Path]]:
    """Image -> kind -> PNG, of all that are there: "start", "kept", and any other kind of a file <image>-<kind>.png."""
    found: dict[ImageId, dict[str, Path]] = {}
    for path in sorted(run.images.glob("[0-9]*.png")) if run.images.is_dir() else []:
        prompt, _, rest = path.stem.partition("-")
        seed, _, kind = rest.partition("-")
        with contextlib.suppress(ValueError):  # the file is no picture of an image
            found.setdefault(ImageId.parse(f"{prompt}-{seed}"), {})[kind or "kept"] = path
    return found


def _small(path: Path, small: Picture, side: int) -> str:
    """A data URI: a tiny PNG as it is, another picture as WebP with a longer side of at most ``side``."""
    if max(small.size) <= AS_IT_IS:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
