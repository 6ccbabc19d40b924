"""Where finished images go: into a run's folder, or wherever a caller from Python wants them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.execution.behind import Behind
from gradproj.execution.trajectory import Rows
from gradproj.optimize import Step
from gradproj.runs import latents, progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

BEHIND = 32  # images that may wait to be written: the pictures of 32 take 200 MB at 1024 pixels


@dataclass(frozen=True)
class Made:
    """What came of one image: its record's ``rows``, the 8-bit pictures, and the latent of the kept one.

    ``latent`` is float32 of the model's ``latent_shape``, on its device. ``facts`` are what the record's label says
    besides, and ``note`` says how the image came about otherwise than asked, "" where it did not.
    """

    rows: Sequence[Mapping[str, float]]
    start: Picture
    kept: Picture
    latent: Tensor
    facts: Mapping[str, Any]
    note: str


@runtime_checkable
class Destination(Protocol):
    """Who takes what the batches make."""

    def has(self, image: ImageId) -> bool:
        """Whether the image is there by now, so that it need not be made."""
        ...

    def see(self, images: Sequence[ImageId], step: Step, rows: Rows) -> None:
        """A step of the batch ``images`` was taken; ``rows`` has what their records get of it, an image each."""
        ...

    def take(self, image: ImageId, made: Made) -> None:
        """The image is finished."""
        ...

    def fail(self, image: ImageId, reason: str) -> None:
        """The image could not be finished."""
        ...

    def rest(self) -> None:
        """No more comes, whether all is made or the work was stopped."""
        ...


class Records:
    """The folder of ``run``: records, pictures, reasons, and signs of life while the work goes on.

    ``latents``: the latent of the kept picture is saved beside it. ``facts`` are what every record's label says besides
    its own. Images are written while the loop goes on; what a write raises ends the work at the next image or at
    ``rest``, which waits for all of them.
    """

    def __init__(self, run: Run, latents: bool = False, facts: Mapping[str, Any] | None = None) -> None:
        self.run, self.latents, self.facts = run, latents, facts or {}
        self.began: float | None = None  # when the first step came
        self.finished = 0  # images, since then
        self.behind = Behind(BEHIND)

    def has(self, image: ImageId) -> bool:
        return self.run.has(image)

    def see(self, images: Sequence[ImageId], step: Step, rows: Rows) -> None:
        now = time.monotonic()
        self.began = now if self.began is None else self.began
        under_way = len(images) * step.index / self.run.config["steps"]
        progress.beat(self.run, len(images), self.finished + under_way, now - self.began)

    def take(self, image: ImageId, made: Made) -> None:
        self.finished += 1
        self.behind.do(self._write, image, made, made.latent.cpu().numpy() if self.latents else None)

    def fail(self, image: ImageId, reason: str) -> None:
        self.finished += 1
        self.behind.do(progress.fail, self.run, image, reason)

    def rest(self) -> None:
        try:
            self.behind.rest()
        finally:
            progress.rest(self.run)

    def _write(self, image: ImageId, made: Made, latent: NDArray[np.float32] | None) -> None:
        if made.note:
            progress.note(self.run, image, made.note)
        if latent is not None:
            latents.save(self.run, image, latent)
        self.run.write(image, made.rows, {"start": made.start, "kept": made.kept}, {**self.facts, **made.facts})
