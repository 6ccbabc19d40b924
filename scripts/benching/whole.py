"""What stands around the loop: the first step after the command, and whole images with scores and files."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gradproj.execution.batches import complete
from gradproj.execution.destination import Records
from gradproj.execution.rehearsal import rehearse
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

from .small import small


def images(given: Sequence[str], count: int, batch: int) -> tuple[float, float]:
    """Wall seconds of ``count`` images from their first step to the last file, and those of the loop itself."""
    made = small(given, batch).experiment
    rehearse(made, batch)  # networks are loaded
    with tempfile.TemporaryDirectory() as folder:
        config = {"names": {"model": "m", "method": "n", "reward": "r"}, "prompts": list(made.prompts)}
        config |= {"steps": made.steps, "score_every": made.score_every, "rewards": dict.fromkeys(made.rewards)}
        run = Run.create(Path(folder), config | {"keep": made.keep}, {})
        wanted = [ImageId(0, seed) for seed in range(count)]
        since = time.perf_counter()
        complete(made, Records(run), wanted, batch)
        wall = time.perf_counter() - since
        return wall, sum(run.table(image).seconds.iloc[-1] for image in wanted)


def first_step() -> tuple[float, float]:
    """Wall and processor seconds from ``gradproj run`` on the miniature to its first step, after which it is killed.

    The first sign of life is left then.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        before, since = _of_children(), time.perf_counter()
        child = _started("run", "device=cpu", f"results={folder}")
        while not any(Path(folder).glob("runs/*/workers/[!.]*")) and child.poll() is None:
            time.sleep(0.005)
        wall, ended = time.perf_counter() - since, child.poll()
        child.kill()
        errors = child.communicate()[1]
    if ended is not None:
        raise RuntimeError(f"gradproj run ended with {ended} before its first step: {errors}")
    return wall, _of_children() - before


def command(*arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of ``gradproj`` with ``arguments``; an exit code of 1 is an answer of ``status``."""
    before, since = _of_children(), time.perf_counter()
    child = _started(*arguments)
    errors = child.communicate()[1]
    wall = time.perf_counter() - since
    if child.returncode not in (0, 1) or "Traceback" in errors:
        raise RuntimeError(f"gradproj {' '.join(arguments)} ended with {child.returncode}: {errors}")
    return wall, _of_children() - before


def _started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradproj", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _of_children() -> float:
    """Processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
