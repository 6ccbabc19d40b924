"""Tasks side by side on one machine: one on each GPU, or as many as there are cores where no GPU is to be used.

Knows nothing of Hydra, and imports torch only to count the GPUs: a task chooses its own before torch can see them.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from filelock import FileLock, Timeout

from gradproj.errors import UserError

VISIBLE, THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
PAUSE = 0.5  # seconds between two looks at what has ended
PATIENCE = 30  # seconds that tasks have to end after they were told to


@dataclass(frozen=True)
class Place:
    """Where one task at a time computes: on ``gpu``, as CUDA_VISIBLE_DEVICES names it, or None; with ``threads``."""

    gpu: str | None
    threads: int


@runtime_checkable
class Job(Protocol):
    """What is used of submitit's ``LocalJob``; ``job_id`` is the id of the process that watches over the task."""

    job_id: str

    def done(self) -> bool: ...

    def results(self) -> list[Any]: ...


def gpus() -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all that torch counts."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return list(takewhile(lambda name: name not in ("", "-1"), map(str.strip, visible.split(","))))
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def places(device: str | None, tasks: Any) -> list[Place]:
    """Where tasks run at the same time: so many, or None for one on each GPU, without a GPU one on each core.

    The cores are shared out among them. ``UserError`` for ``tasks`` that are no whole number or more than the GPUs, and
    for a ``device`` that is one certain GPU, because a task sees only its own.
    """
    if tasks is not None and (type(tasks) is not int or tasks < 1):
        raise UserError(f"hydra.launcher.tasks must be a whole number, at least 1, or null, got {tasks!r}")
    if device and device.startswith("cuda:"):
        raise UserError(
            f"device={device} with hydra/launcher=local: every task sees one GPU, its own: leave device= out; which "
            f"GPUs are used is said before the command: {VISIBLE}={device.removeprefix('cuda:')} gradproj run ..."
        )
    found = [] if device == "cpu" else gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = tasks or len(found) or cores
    if found and count > len(found):
        raise UserError(
            f"hydra.launcher.tasks={tasks}: a GPU does one task at a time, and here are {len(found)} "
            f"({VISIBLE}={','.join(found)}): type hydra.launcher.tasks={len(found)}, or leave it out"
        )
    return [Place(gpu, max(1, cores // count)) for gpu in (found[:count] or [None] * count)]


def side_by_side(start: Callable[[int, Place], Job], count: int, places: Sequence[Place]) -> list[Any]:
    """The results of the tasks 0 to ``count`` - 1, which ``start`` begins in this order, one at a time in each place.

    A task that ends without a result stops no other; its exception is raised when all have ended. Where this process
    is to end before (Ctrl-C), so do the tasks under way, and no other begins.
    """
    jobs: list[Job] = []
    running: dict[int, Job] = {}
    try:
        while running or len(jobs) < count:
            running = {number: job for number, job in running.items() if not job.done()}
            for number, place in enumerate(places):
                if number not in running and len(jobs) < count:
                    running[number] = start(len(jobs), place)
                    jobs.append(running[number])
            time.sleep(PAUSE)
    except BaseException:
        _end(running.values())
        raise
    return [job.results()[0] for job in jobs]


def _end(jobs: Iterable[Job]) -> None:
    """Tell the tasks to end, again and again, because a task that begins this moment may not hear it yet."""
    last = time.monotonic() + PATIENCE
    while (left := [job for job in jobs if not job.done()]) and time.monotonic() < last:
        for job in left:
            os.kill(int(job.job_id), signal.SIGTERM)  # submitit's process hands it on to the task
        time.sleep(PAUSE)


def occupy(place: Place, task: Callable[..., Any], *arguments: Any) -> Any:
    """``task(*arguments)`` in ``place``, in a process of its own that has not imported torch yet.

    It waits where another command on this machine has a task on the same GPU; that one's end frees it, a kill too.
    SIGTERM ends it as Ctrl-C would.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault(THREADS, str(place.threads))
    if place.gpu is None:
        return task(*arguments)  # submitit has hidden every GPU
    os.environ[VISIBLE] = place.gpu
    with _lock(place.gpu):
        return task(*arguments)


def _lock(gpu: str) -> AbstractContextManager[Any]:
    """The GPU's lock, taken; it is given back at the end of the block."""
    folder = Path(tempfile.gettempdir()) / f"gradproj-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(folder / f"gpu-{gpu.replace('/', '_')}.lock")
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        print(f"waiting for GPU {gpu}, on which another command of gradproj has a task", flush=True)
        return lock.acquire(poll_interval=PAUSE)
