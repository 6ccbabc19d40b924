"""Whether a run's parts compute what the published code computes, on these weights: ``gradproj verify model=flux``.

Takes the overrides of ``gradproj run``. A line for each comparison: the gradient of the run's first image against
differences, its picture at step 0 against the published pipeline's, each reward against its published code, the files
against their hashes. The page of it, RESULTS/verified/*.json, has versions, device, weights and all numbers. The exit
code is 0 where every comparison that can be made holds, else 1.
"""

import argparse
import shlex

from gradproj.cli import composed
from gradproj.errors import UserError
from gradproj.execution.settings.overrides import data_folder
from gradproj.execution.settings.prompts import read_prompts


def main(arguments: list[str]) -> int:
    """Print a line for each comparison and where the page is; returns 0 where all is well, else 1."""
    given, overrides = _parser().parse_known_args(arguments)
    runs = composed.all_here(overrides, "gradproj verify")
    if not runs:  # --cfg job, which is answered
        return 0
    if len(runs) != 1:
        raise UserError(f"one run is verified at a time, these are {len(runs)}: leave out -m, and name one model")
    (run,) = runs
    from gradproj.execution import devices, verify, weights
    from gradproj.execution.memory.planner import plan
    from gradproj.execution.settings.check import check
    from gradproj.execution.settings.parts import check_parts, parts
    from gradproj.execution.verify import page

    check_parts(run.settings)
    weights.settle([run.settings], overrides)
    chosen = plan({**run.settings, "batch": 1}, devices.memory(run.settings["device"]))
    chosen.expect_room()
    settings = chosen.settings
    prompts = read_prompts(settings["prompts"], data_folder("prompts"))
    task = verify.Task(settings, prompts, run.model, shlex.join(overrides))
    made = parts(settings)
    check(made, settings, prompts)
    devices.expect_gpu(made["model"], settings["device"])
    page.folder(task)  # it is told now, not after the work, that nothing can be written there
    if chosen.said and not given.json:
        print(chosen.said, flush=True)
    found = []
    for one in verify.checks(task, made):
        found.append(one)
        if not given.json:
            print(one.line(), flush=True)
    path = page.write(task, made, found)
    print(path.read_text(encoding="utf-8") if given.json else f"the page: {path}")
    return 0 if all(one.well for one in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = composed.parser("gradproj verify [--json] [KEY=VALUE ...]", __doc__)
    parser.add_argument("--json", action="store_true", help="print the page itself")
    return parser
