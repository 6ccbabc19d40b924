"""TensorBoard: a folder of event files for each image, ``<folder>/<run id>/<image>``.

TensorBoard calls every folder a run and draws those of one tag together, so the images of a run, and of several, lie in
one plot. Workers that share a run write into folders of their own, as no image is made by two.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradproj.execution.trackers import Snapshot, package


class TensorBoard:
    """``folder`` is TensorBoard's ``--logdir``."""

    def __init__(self, folder: str) -> None:
        package("tensorboard", "tensorboard")
        self.make = package("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self.folder, self.run = Path(folder), Path()
        self.writers: dict[str, Any] = {}

    def start(self, run: str, share: str, config: Mapping[str, Any]) -> None:
        self.run = self.folder / run

    def log(self, step: int, snapshots: Sequence[Snapshot]) -> None:
        if step == 0:
            self.finish()
        for snapshot in snapshots:
            if step == 0:
                self.writers[snapshot.image] = self._begin(snapshot)
            writer = self.writers[snapshot.image]
            for name, number in snapshot.numbers.items():
                writer.add_scalar(name, number, step)
            writer.add_image("pictures", np.asarray(snapshot.strip), step, dataformats="HWC")
            writer.flush()

    def finish(self) -> None:
        while self.writers:
            self.writers.popitem()[1].close()

    def _begin(self, snapshot: Snapshot) -> Any:
        """In place of an attempt before; the prompt as code, which keeps its signs and lines as they are."""
        folder = self.run / snapshot.image
        for before in folder.glob("events.out.tfevents.*"):
            before.unlink()
        writer = self.make(str(folder))
        writer.add_text("prompt", "\n".join(f"    {line}" for line in snapshot.prompt.splitlines()), 0)
        return writer
