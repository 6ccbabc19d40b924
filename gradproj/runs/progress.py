"""What workers leave beside the records: failures and notes of an image, how many seeds are wanted, signs of life.

``images/<image>.failed`` has a line per attempt, ``<image>.note`` says how it was made otherwise than the rest;
``wanted.json`` (what the commands so far asked for) and ``workers/`` are for those who ask how far a run is: no worker
reads another one's (docs/decisions/0004).
Imports no torch.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gradproj.errors import UserError
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


@dataclass(frozen=True)
class Wanted:
    """What the commands so far asked of a run."""

    seeds: int = 0  # pictures of every prompt, the most that were asked for: the seeds 0, 1, ...
    max_retries: int | None = None  # attempts at an image beyond the first, as the last command said
    after: list[str] = field(default_factory=list)  # rewards to score the pictures when all are there, by name
    listed: list[int] = field(default_factory=list)  # seeds of every prompt that were asked for by number, beyond those


def ask(run: Run, seeds: int | Sequence[int], after: Iterable[str] = (), max_retries: int | None = None) -> None:
    """Remember what a command asks for, beside what was asked for before. ``seeds``: how many, or which."""
    before = wanted(run)
    count, numbers = (seeds, []) if isinstance(seeds, int) else (0, seeds)
    count = max(count, before.seeds)
    listed = sorted(seed for seed in {*numbers, *before.listed} if seed >= count)
    now = Wanted(count, max_retries, sorted({*after, *before.after}), listed)
    if now != before:
        place(run.folder / "wanted.json", json.dumps(asdict(now)).encode() + b"\n")


def wanted(run: Run) -> Wanted:
    """What was asked for; nothing where a run was killed before it said so. ``UserError`` for an edited file."""
    path = run.folder / "wanted.json"
    if not path.exists():
        return Wanted()
    try:
        found = Wanted(**json.loads(path.read_bytes()))
        right = isinstance(found.seeds, int) and isinstance(found.max_retries, int | None)
        right &= isinstance(found.after, list) and all(isinstance(name, str) for name in found.after)
        right &= isinstance(found.listed, list) and all(isinstance(seed, int) for seed in found.listed)
    except (ValueError, TypeError):
        right, found = False, Wanted()
    if not right:
        raise UserError(f"{path} is cut or edited: remove it, then give the run's command again: {run.command}")
    return found


def beat(run: Run, images: int, done: float = 0.0, seconds: float = 0.0) -> None:
    """Say, every BEAT seconds at most, that this process has so many images under way; nothing depends on it.

    ``done``: how many it has done with in ``seconds``, shares of images counted.
    """
    sign = _sign(run)
    with contextlib.suppress(OSError):
        if not sign.exists() or time.time() - sign.stat().st_mtime > BEAT:
            sign.parent.mkdir(exist_ok=True)
            place(sign, f"{images} {done:.3f} {seconds:.3f}\n".encode())


def rest(run: Run) -> None:
    """Take back what ``beat`` said."""
    sign = _sign(run)
    with contextlib.suppress(OSError):
        sign.unlink(missing_ok=True)
        sign.parent.rmdir()  # by the last one


def running(run: Run) -> int:
    """Images under way, by the signs that live workers left in the last 20 BEATs."""
    return sum(int(images) for images, _, _ in _signs(run))


def pace(run: Run) -> float:
    """Images an hour of all live workers together, as they said; 0 where none has said it as yet."""
    return sum((3600 * done / seconds for _, done, seconds in _signs(run) if seconds > 0), 0.0)


def _sign(run: Run) -> Path:
    return run.folder / "workers" / f"{socket.gethostname()}-{os.getpid()}"


def _signs(run: Run) -> Iterator[tuple[float, float, float]]:
    """What live workers said: images under way, images done, seconds; nothing of signs that are old or gone by now."""
    for path in (run.folder / "workers").glob("[!.]*"):
        with contextlib.suppress(OSError, ValueError):
            if time.time() - path.stat().st_mtime < 20 * BEAT:
                images, done, seconds = [*map(float, path.read_text().split()), 0.0, 0.0, 0.0][:3]
                yield images, done, seconds
