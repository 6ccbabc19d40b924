"""Small copies of a run's pictures, each only once, as data URIs."""

import base64
import hashlib
import io
import re
from pathlib import Path

from PIL import Image as Pillow

from gradproj.errors import UserError
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

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
        """The picture's number in the page. A ``wide`` one is a strip of many."""
        content = path.read_bytes()
        key = hashlib.sha256(content).digest()
        if key not in self._place:
            try:
                uri = _small(content, STRIP if wide else self.side)
            except (OSError, SyntaxError) as error:  # Pillow's words for a cut or foreign file
                raise UserError(
                    f"{path} is no whole picture ({error}); delete it, then make it again: "
                    f"gradproj replay {path.parents[1]} {path.stem.removesuffix('-start')}"
                ) from error
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
        parts = re.fullmatch(r"(\d{4,}-\d+)(?:-([a-z_]+))?", path.stem)
        if parts:
            found.setdefault(ImageId.parse(parts[1]), {})[parts[2] or "kept"] = path
    return found


def _small(content: bytes, side: int) -> str:
    """A data URI: a tiny PNG as it is, another picture as WebP with a longer side of at most ``side``."""
    with Pillow.open(io.BytesIO(content), formats=["PNG"]) as picture:
        picture.load()
        if max(picture.size) <= AS_IT_IS:
            return f"data:image/png;base64,{base64.b64encode(content).decode()}"
        small = picture.convert("RGB")
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
