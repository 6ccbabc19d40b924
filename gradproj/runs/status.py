"""How far runs are, counted from the records alone. Imports no torch.

Every wanted image is recorded, failed (to be tried again), given up (failed more often than the last command retries)
or missing. Some of the missing and the failed are under way, by the signs of life that workers leave. A damaged record
does not count: it is to be made again. Neither does another run's or image's: that is a problem.
"""

import contextlib
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs import progress, scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.results import find


@dataclass(frozen=True)
class Status:
    """Counts of one run's wanted images. Reasons are those of the last attempt, each with the number of images."""

    run: Run
    wanted: int
    recorded: int
    failing: Counter[str] = field(default_factory=Counter)  # reasons of those that the same command tries again
    abandoned: Counter[str] = field(default_factory=Counter)  # reasons of those that are given up
    running: int = 0  # images that live workers have under way
    unscored: Mapping[str, int] = field(default_factory=dict)  # reward -> recorded images that it is still to score
    pace: float = 0.0  # images an hour of the live workers together
    newest: ImageId | None = None  # the last one recorded, of those whose pictures are here
    problems: list[str] = field(default_factory=list)  # what is wrong, a line each with what to do

    @property
    def failed(self) -> int:
        return self.failing.total()

    @property
    def given_up(self) -> int:
        return self.abandoned.total()

    @property
    def missing(self) -> int:
        return self.wanted - self.recorded - self.failed - self.given_up

    @property
    def unfinished(self) -> bool:
        """Whether the same command would do something."""
        return bool(self.missing or self.failed or self.unscored)

    @property
    def hours_left(self) -> float | None:
        """At the live workers' pace; None where there is none."""
        return (self.missing + self.failed) / self.pace if self.pace else None

    @property
    def whole(self) -> bool:
        return self.recorded == self.wanted and not self.unscored and not self.problems


def status(run: Run) -> Status:
    """Look at one run. What cannot be read becomes a problem of the run, so that the other runs are still told of."""
    try:
        return _status(run)
    except (UserError, OSError) as error:  # OSError: a file that is somebody else's
        return Status(run, 0, 0, problems=[str(error)])


def _status(run: Run) -> Status:
    found, asked = run.scan(), progress.wanted(run)
    there = {image.seed for image in found.recorded}
    count = asked.seeds if asked.seeds or asked.listed else max(there, default=0) + 1
    wanted = len(run.config["prompts"]) * (count + sum(seed >= count for seed in {*asked.listed, *there}))
    failing: Counter[str] = Counter()
    abandoned: Counter[str] = Counter()
    for lines in progress.failures(run).values():
        given_up = asked.max_retries is not None and len(lines) > asked.max_retries
        (abandoned if given_up else failing)[lines[-1] if lines else "no reason given"] += 1
    running = min(progress.running(run), wanted - len(found.recorded))
    unscored = scores.unscored(run, asked.after, found.recorded)
    counts = (wanted, len(found.recorded), failing, abandoned, running, unscored)
    return Status(run, *counts, progress.pace(run), _newest(run, found.recorded), found.strangers)


def _newest(run: Run, recorded: Container[ImageId]) -> ImageId | None:
    """The last recorded image whose start and kept picture are here."""
    written: dict[ImageId, float] = {}
    for path in run.images.glob("[0-9]*-start.png"):
        with contextlib.suppress(OSError, ValueError):  # moved away this moment, or no image's
            image = ImageId.parse(path.stem.removesuffix("-start"))
            written |= {image: run.kept(image).stat().st_mtime} if image in recorded else {}
    return max(written, key=lambda image: (written[image], image), default=None)


def statuses(results: Path) -> tuple[list[Status], list[str]]:
    """Every run under ``results/runs``, and a line for all else there; ``UserError`` where nothing ever began."""
    runs, others = find(results)
    if not any((results / "runs").glob("[!.]*")):
        raise UserError(
            f"{results / 'runs'} holds no runs: give the folder that holds runs/, or type gradproj run first"
        )
    return [status(run) for run in runs], list(others.values())
