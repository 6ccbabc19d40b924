"""A run with a tracker beside it, which sees what the records get and can do them no harm."""

import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image as Pillow
from PIL.Image import Image as Picture
from tqdm.auto import tqdm

from gradproj.execution import scheduler
from gradproj.execution.destination import Destination, Made
from gradproj.execution.settings.parts import make
from gradproj.execution.trackers import Snapshot, Tracker
from gradproj.execution.trajectory import Rows, to_pictures
from gradproj.optimize import Step
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import strip
from gradproj.runs.scored_steps import scored_steps
from gradproj.runs.terminal import printable

MOST, SIDE = 11, 128  # pictures of a strip, and their pixels


def tracker_of(settings: Mapping[str, Any]) -> Tracker | None:
    """The tracker that ``settings`` choose; ``UserError`` where it cannot be used."""
    return make(settings["tracker"], "tracker") if settings["tracker"] else None


class Tracked:
    """A ``Destination`` that hands everything on to ``inner``, and the scored steps of ``run`` to ``tracker``, too.

    ``share`` tells the workers of one run apart. The tracker is started at the first step, gets copies only, and is
    left out from the first time on that it raises anything, which is told on stderr.
    """

    def __init__(self, inner: Destination, tracker: Tracker, run: Run, share: str) -> None:
        self.inner, self.tracker, self.run, self.share = inner, tracker, run, share
        steps = scored_steps(run.config["steps"], run.config["score_every"])
        self.scored = set(steps)
        last = len(steps) - 1
        self.shown = {steps[round(last * place / (MOST - 1))] for place in range(MOST)} if last >= MOST else self.scored
        self.strips: dict[ImageId, list[tuple[str, Picture]]] = {}
        self.started = self.failed = False

    def has(self, image: ImageId) -> bool:
        return self.inner.has(image)

    def see(self, images: Sequence[ImageId], step: Step, rows: Rows) -> None:
        self.inner.see(images, step, rows)
        if step.index in self.scored and not self.failed:
            self._guarded(lambda: self._log(images, step, rows))

    def take(self, image: ImageId, made: Made) -> None:
        self.inner.take(image, made)

    def fail(self, image: ImageId, reason: str) -> None:
        self.inner.fail(image, reason)

    def rest(self) -> None:
        try:
            if self.started:
                self._guarded(self.tracker.finish)
        finally:
            self.inner.rest()

    def _log(self, images: Sequence[ImageId], step: Step, rows: Rows) -> None:
        if not self.started:
            self.started = True
            config = {key: value for key, value in self.run.config.items() if key != "prompts"}
            self.tracker.start(self.run.folder.name, self.share, config)
        before = {image: self.strips.get(image, []) for image in images} if step.index else {}
        self.strips = {image: before.get(image, []) for image in images}  # of the batch under way
        snapshots = []
        for image, row, picture in zip(images, rows, to_pictures(step.image), strict=True):
            now = [*self.strips[image], (str(step.index), picture)]
            if step.index in self.shown:
                self.strips[image] = now
            numbers = {name: value for name, value in row.items() if name != "step" and math.isfinite(value)}
            snapshots.append(Snapshot(str(image), self.run.config["prompts"][image.prompt], numbers, _row(now)))
        self.tracker.log(step.index, snapshots)

    def _guarded(self, work: Callable[[], None]) -> None:
        """``work`` of the tracker; what it raises is told, once. Ctrl-C and a cluster's scheduler end the run."""
        try:
            work()
        except scheduler.interruptions():
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and scheduler.interruptions():  # submitit ends a task by one
                raise
            if not self.failed:
                reason = printable(f"{type(error).__name__}: {error}")
                name = type(self.tracker).__name__
                told = f"the tracker {name} failed and is left out from here on ({reason}); the records are whole"
                tqdm.write(told, file=sys.stderr)
            self.failed = True


def _row(pictures: Sequence[tuple[str, Picture]]) -> Picture:
    """The pictures in one row, each below its label."""
    side = min(SIDE, pictures[0][1].width * 4)
    return Pillow.open(io.BytesIO(strip(pictures, side, across=len(pictures)))).convert("RGB")
