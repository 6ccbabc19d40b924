"""Hydra's launcher behind hydra/launcher=local. Hydra finds launchers in the package ``hydra_plugins`` alone.

What runs when and on which GPU is decided in ``gradproj.execution.local``; submitit gives each task a process and logs.
"""

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gradproj.errors import UserError
from gradproj.execution import local

FOREVER = 60 * 24 * 365 * 10  # minutes: submitit wants a limit


class LocalLauncher(Launcher):
    """Every run of a sweep as a process of its own on this machine, ``tasks`` of them at the same time."""

    def __init__(self, tasks: Any) -> None:
        self.tasks = tasks

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        try:
            from hydra_plugins.hydra_submitit_launcher import submitit_launcher
        except ImportError as error:
            raise UserError("hydra/launcher=local needs submitit: type pip install 'gradproj[slurm]'") from error
        self.places = local.places(config.device, self.tasks)
        self.logs = Path(str(config.hydra.sweep.dir))
        self.one = submitit_launcher.LocalLauncher()  # what is done in the process of one task
        self.one.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        tasks, places = len(job_overrides), self.places[: len(job_overrides)]
        where = f"GPU {', '.join(str(place.gpu) for place in places)}" if places[0].gpu else "the processor"
        print(f"{tasks} tasks, {len(places)} at the same time, on {where}; their logs: {self.logs}", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends the command ends its tasks
        return local.side_by_side(partial(self._start, job_overrides, initial_job_idx), tasks, places)

    def _start(self, job_overrides: Sequence[Sequence[str]], first: int, number: int, place: local.Place) -> Any:
        """Begin a task. Ctrl-C is for the command alone, which then ends its tasks: they would each tell of it."""
        import submitit

        executor = submitit.LocalExecutor(self.logs / str(first + number))
        executor.update_parameters(timeout_min=FOREVER)
        what = (list(job_overrides[number]), "hydra.sweep.dir", first + number, str(first + number))
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return executor.submit(local.occupy, place, self.one, *what, Singleton.get_state())
        finally:
            signal.signal(signal.SIGINT, before)
