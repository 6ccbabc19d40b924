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


def first_step(arguments: Sequence[str] = ()) -> tuple[float, float]:
    """Wall and processor seconds from ``gradproj run`` on the miniature to its first step, after which it is killed.

    The first sign of life is left then.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        since = time.perf_counter()
        command = [sys.executable, "-m", "gradproj", "run", f"results={folder}", *arguments]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(Path(folder).glob("runs/*/workers/[!.]*")) and child.poll() is None:
            time.sleep(0.005)
        wall = time.perf_counter() - since
        child.kill()
        code = child.wait()
    if code >= 0:
        raise RuntimeError(f"{' '.join(command)} ended with {code} before its first step")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(*arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of ``gradproj`` with ``arguments``."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "gradproj", *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
