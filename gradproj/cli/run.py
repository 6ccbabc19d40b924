"""``gradproj run``, also ``gradproj-run``: compose the settings, complete the run and say what came of it.

Torch is imported only when there is work to do, so that ``--help`` and bad input are answered at once.
"""

import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from gradproj.cli import composed
from gradproj.errors import Incomplete, UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.overrides import data_folder
from gradproj.execution.settings.prompts import read_prompts
from gradproj.runs.environment import COMMAND, typed
from gradproj.runs.folder import Run
from gradproj.runs.naming import Share
from gradproj.runs.pictures import before_after

if TYPE_CHECKING:
    from gradproj.execution.outcome import Outcome


def main(arguments: list[str]) -> int:
    """Complete every run that ``arguments`` describe; ``Incomplete`` where some of their images are not recorded."""
    os.environ[COMMAND] = json.dumps(["gradproj-run", *arguments])
    if any(word in ("-m", "--multirun") or word.startswith("+sweep=") for word in arguments):
        # no run of a sweep begins before all are understood, and their files had
        _settle([one.settings for one in composed.all_here(arguments, "gradproj run")])
    composed.each(arguments, run, "gradproj run")
    return 0


def run(config: DictConfig) -> None:
    """Complete one composed run; ``Incomplete`` where some of its images are not recorded."""
    unfinished = run_once(config, model=composed.choice("model"), method=composed.choice("method")).unfinished
    if unfinished:
        raise Incomplete(unfinished)


def run_once(config: DictConfig, model: str, method: str) -> "Outcome":
    """Complete one composed run and return what came of it. ``model`` and ``method`` are names of YAML files."""
    settings = keys.check(config)
    prompts = read_prompts(settings["prompts"], data_folder("prompts"))
    with _importing():
        _settle([settings])
        import torch._dynamo  # noqa: F401  torch's optimisers import it at their first use

        from gradproj.execution import worker

    outcome = worker.complete(settings, prompts, model, method)
    _show(outcome.run, keys.images(settings, len(prompts)))
    return outcome


@contextmanager
def _importing() -> Iterator[None]:
    """Inside nothing is looked through for garbage: what an import makes stays, and it takes a fifth longer with it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _settle(runs: list[dict[str, Any]]) -> None:
    """``UserError`` where what the runs need is not all here and cannot be fetched, before any of it is."""
    from gradproj.execution import weights
    from gradproj.execution.tracked import tracker_of

    for settings in runs:
        tracker_of(settings)
    weights.settle(runs, typed()[1:])


def _show(run: Run, wanted: Share) -> None:
    """Print a line of numbers and where to look; ``wanted`` are the images that this command was to make."""
    from gradproj.report import summary

    if not run.recorded():
        return
    try:
        print(summary(run.folder))
    except UserError as error:
        if any(image in wanted for image in run.scan().damaged):
            raise
        print(f"no summary: {error}", file=sys.stderr)  # the damaged record is another worker's
    print(f"records:      {run.images}")
    print(f"before/after: {before_after(run) or 'no PNGs here'}")


if __name__ == "__main__":
    from gradproj.cli import gradproj_run

    sys.exit(gradproj_run())
