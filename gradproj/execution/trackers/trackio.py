"""Trackio, on this machine: one of its runs for each run id, in it a group of numbers for each image."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gradproj.errors import UserError
from gradproj.execution.trackers import Snapshot, package

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")  # would have it send everything away


class Trackio:
    """``project`` is trackio's; the variable TRACKIO_DIR says where its database is."""

    def __init__(self, project: str) -> None:
        for variable in ELSEWHERE:
            if os.environ.get(variable):
                raise UserError(
                    f"tracker=trackio keeps everything on this machine, but {variable} is set: type unset {variable}"
                )
        self.trackio = package("trackio", "trackio")
        self.project = project
        self.run: Any = None

    def start(self, run: str, share: str, config: Mapping[str, Any]) -> None:
        self.run = self.trackio.init(
            self.project,
            name=run + share,
            group=run,
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, snapshots: Sequence[Snapshot]) -> None:
        values: dict[str, Any] = {}
        for snapshot in snapshots:
            picture = self.trackio.Image(snapshot.strip, caption=snapshot.prompt)
            columns = {**snapshot.numbers, "pictures": picture}
            values |= {f"{snapshot.image}/{name}": value for name, value in columns.items()}
        self.run.log(values, step=step)

    def finish(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            self.trackio.finish()
