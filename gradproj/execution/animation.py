"""The way of one image as an animation and as a strip, from the pictures of its steps."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image as Pillow
from PIL.Image import Image as Picture

from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import strip
from gradproj.runs.scored_steps import scored_steps

FRAMES, SIDE, PAUSE = 60, 256, 80  # at most so many pictures, pixels, milliseconds each


def animate(run: Run, image: ImageId, pictures: Mapping[int, Picture]) -> Iterator[Path]:
    """Write ``<image>.gif`` (FRAMES steps at most, the last for longer) and ``<image>-steps.png`` (the scored steps).

    ``pictures``: step -> picture, of every step. Answers the two paths.
    """
    run.images.mkdir(exist_ok=True)
    last = max(pictures)
    chosen = sorted({round(last * frame / (FRAMES - 1)) for frame in range(FRAMES)})
    first, *others = [small(pictures[step]) for step in chosen]
    durations = [PAUSE] * len(others) + [20 * PAUSE]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
    scored = scored_steps(last, run.config["score_every"])
    still = strip([(str(step), pictures[step]) for step in scored], side=min(SIDE, pictures[0].width * 4))
    for name, content in {f"{image}.gif": buffer.getvalue(), f"{image}-steps.png": still}.items():
        place(run.images / name, content)
        yield run.images / name


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def small(picture: Picture) -> Picture:
    """At most SIDE pixels; a miniature's are enlarged to a multiple, its pixels kept."""
    times = SIDE // max(picture.size)
    if times > 1:
        return picture.resize((picture.width * times, picture.height * times), Pillow.Resampling.NEAREST)
    copy = picture.copy()
    copy.thumbnail((SIDE, SIDE))
    return copy
