"""Weights & Biases, offline: one of its runs for each run id, in it a section for each image.

It sends nothing: ``wandb sync`` does, when a person types it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradproj.execution.trackers import Snapshot, package


class Wandb:
    """``folder`` is where wandb makes its own folder; ``project`` is wandb's."""

    def __init__(self, folder: str, project: str) -> None:
        self.wandb = package("wandb", "wandb")
        self.folder, self.project = folder, project
        self.run: Any = None

    def start(self, run: str, share: str, config: Mapping[str, Any]) -> None:
        Path(self.folder).mkdir(parents=True, exist_ok=True)  # wandb goes elsewhere where it is not
        self.run = self.wandb.init(
            project=self.project,
            group=run,
            name=run + share,
            id=run + share,  # what a later command adds is uploaded to the same one
            config=dict(config),
            dir=self.folder,
            mode="offline",
            reinit="create_new",  # a run of the caller's own stays as it is
            settings=self.wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, snapshots: Sequence[Snapshot]) -> None:
        values: dict[str, Any] = {}
        for snapshot in snapshots:
            if step == 0:  # wandb's own step must not go back, where the next batch begins
                self.run.define_metric(f"{snapshot.image}/*", step_metric=f"{snapshot.image}/step")
            columns = {**snapshot.numbers, "step": step}
            columns |= {"pictures": self.wandb.Image(snapshot.strip, caption=snapshot.prompt)}
            values |= {f"{snapshot.image}/{name}": value for name, value in columns.items()}
        self.run.log(values)

    def finish(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.finish()
