"""Small copies of a run's pictures, each only once, as data URIs."""

import base64
import contextlib
import hashlib
import io
from pathlib import Path

from PIL import Image as Pillow

from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import open_rgb

BLOCK = 64  # pictures that the page parses in one go, once one of them is near the window
AS_IT_IS = 64  # pixels: a PNG of at most this side is taken whole
STRIP = 1536  # pixels: the longer side of a strip of steps, at most
QUALITY = 80


class Thumbnails:
    """Collects pictures; equal files (the start that all methods share) take one place."""

    def __init__(self, side: int) -> None:
        """``side``: of the longer side, in pixels, at most."""
        self.side = side
        self._place: dict[bytes, int] = {}
        self._pictures: list[str] = []

    def add(self, path: Path, wide: bool = False) -> int:
        """The picture's number in the page; ``UserError`` for one that is cut. A ``wide`` one is a strip of many."""
        key = hashlib.sha256(path.read_bytes()).digest()
        if key not in self._place:
            uri = _small(path, STRIP if wide else self.side)
            self._place[key] = len(self._pictures)
            self._pictures.append(uri)
        return self._place[key]

    def blocks(self) -> list[list[str]]:
        """All pictures in order, BLOCK in each list but the last."""
        return [self._pictures[first : first + BLOCK] for first in range(0, len(self._pictures), BLOCK)]


def pictures(run: Run) -> dict[ImageId, dict[str, Path]]:
    """Image -> kind -> PNG, of those that are there: "start", "kept", and "<kind>" of <image>-<kind>.png."""
    found: dict[ImageId, dict[str, Path]] = {}
    for path in sorted(run.images.glob("[0-9]*.png")) if run.images.is_dir() else []:
        prompt, _, rest = path.stem.partition("-")
        seed, _, kind = rest.partition("-")
        with contextlib.suppress(ValueError):  # no picture of an image
            found.setdefault(ImageId.parse(f"{prompt}-{seed}"), {})[kind or "kept"] = path
    return found


def _small(path: Path, side: int) -> str:
    """A data URI: a tiny PNG as it is, another picture as WebP with a longer side of at most ``side``."""
    small = open_rgb(path)
    if max(small.size) <= AS_IT_IS:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
