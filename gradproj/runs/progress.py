"""What workers leave beside the records: failures and notes of an image, how many seeds are wanted, signs of life.

``images/<image>.failed`` has a line per attempt, ``<image>.note`` says how it was made otherwise than the rest;
``seeds``, ``after`` (rewards to score the pictures when all are there) and ``workers/`` are for those who ask how far a
run is: no worker reads another one's (docs/decisions/0004).
Imports no torch.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

BEAT = 30  # seconds between two signs of life of a worker


def fail(run: Run, image: ImageId, reason: str) -> None:
    """Leave word of an image that could not be finished, a line per attempt; a later run tries it again."""
    path = run.images / f"{image}.failed"
    before = path.read_bytes() if path.exists() else b""
    place(path, before + " ".join(reason.split()).encode() + b"\n")


def failures(run: Run) -> dict[ImageId, list[str]]:
    """Image -> why each attempt at it failed, of the images that are not recorded."""
    reasons: dict[ImageId, list[str]] = {}
    for path in run.images.glob("[0-9]*.failed"):
        with contextlib.suppress(FileNotFoundError, ValueError):  # it succeeded this moment, or is no image's
            reasons[ImageId.parse(path.stem)] = path.read_text(errors="replace").splitlines()
    recorded = run.recorded() if reasons else set()
    return {image: lines for image, lines in sorted(reasons.items()) if image not in recorded}


def note(run: Run, image: ImageId, text: str) -> None:
    """Leave word of how an image came about that is not as the others did."""
    place(run.images / f"{image}.note", text.encode() + b"\n")


def ask(run: Run, seeds: int, after: Iterable[str] = ()) -> None:
    """Remember that ``seeds`` pictures of every prompt are wanted, if no more were wanted before.

    ``after``: rewards that are to score the pictures when all are there (``held_out=after``).
    """
    if seeds > asked(run):
        place(run.folder / "seeds", f"{seeds}\n".encode())
    names = sorted({*after, *asked_after(run)})
    if names != asked_after(run):
        place(run.folder / "after", "".join(f"{name}\n" for name in names).encode())


def asked_after(run: Run) -> list[str]:
    """The rewards that are to score this run's pictures afterwards, by name."""
    try:
        return (run.folder / "after").read_text(errors="replace").split()
    except OSError:
        return []


def asked(run: Run) -> int:
    """The most seeds that were wanted so far; 0 where no run of today's form wanted any."""
    try:
        return int((run.folder / "seeds").read_text())
    except (OSError, ValueError):
        return 0


def beat(run: Run, images: int) -> None:
    """Say, every BEAT seconds at most, that this process has so many images under way; nothing depends on it."""
    sign = _sign(run)
    with contextlib.suppress(OSError):
        if not sign.exists() or time.time() - sign.stat().st_mtime > BEAT:
            sign.parent.mkdir(exist_ok=True)
            place(sign, f"{images}\n".encode())


def rest(run: Run) -> None:
    """Take back what ``beat`` said."""
    sign = _sign(run)
    with contextlib.suppress(OSError):
        sign.unlink(missing_ok=True)
        sign.parent.rmdir()  # by the last one


def running(run: Run) -> int:
    """Images under way, by the signs that live workers left in the last 20 BEATs."""
    return sum(_under_way(path) for path in (run.folder / "workers").glob("[!.]*"))


def _sign(run: Run) -> Path:
    return run.folder / "workers" / f"{socket.gethostname()}-{os.getpid()}"


def _under_way(path: Path) -> int:
    """What one sign says; 0 where it is old, or gone by now."""
    try:
        return int(path.read_text() or 0) if time.time() - path.stat().st_mtime < 20 * BEAT else 0
    except (OSError, ValueError):
        return 0
