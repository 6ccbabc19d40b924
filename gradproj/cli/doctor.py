"""Whether this machine has what a run or a sweep needs, a line for each thing: ``gradproj doctor model=flux``.

Takes the overrides of ``gradproj run`` (and -m for a sweep). Each line is OK, missing, wrong, or a note about what this
command does not need, with what to type. The exit code is 0 where nothing is missing or wrong, else 1.
"""

import argparse
import json
import shlex

from gradproj.cli import composed, prompts
from gradproj.execution import doctor

LAUNCHER = "hydra/launcher="
HERE = ("basic", "local")  # launchers whose tasks run on this machine


def main(arguments: list[str]) -> int:
    """Print a line for each check, or all of them as JSON; returns 0 where all is well, else 1."""
    given, overrides = _parser().parse_known_args(arguments)
    t2i = prompts.DEFAULT
    runs = composed.all_here(overrides, "gradproj doctor", later=t2i.stem)
    if not runs:  # --cfg job, which is answered
        return 0
    settings = [one.settings for one in runs]
    launched = any(word.startswith(LAUNCHER) and word.removeprefix(LAUNCHER) not in HERE for word in overrides)
    command = doctor.Command(settings, shlex.join(overrides), launched)
    checks = []
    for check in doctor.checks(command, given.quick):
        checks.append(check)
        if not given.json:
            print(check.line(), flush=True)
    if any(one["prompts"] == t2i.stem for one in settings):
        checks.append(_prompts())
        if not given.json:
            print(checks[-1].line())
    well = all(check.well for check in checks)
    if given.json:
        rows = [{"name": one.name, "state": one.state, "said": one.said, "advice": one.advice} for one in checks]
        print(json.dumps({"well": well, "checks": rows}, indent=1))
    return 0 if well else 1


def _prompts() -> doctor.Check:
    if prompts.DEFAULT.is_file():
        return doctor.Check("prompts", "OK", str(prompts.DEFAULT))
    return doctor.Check("prompts", "missing", f"no {prompts.DEFAULT}", "type gradproj prompts fetch")


def _parser() -> argparse.ArgumentParser:
    parser = composed.parser("gradproj doctor [--json] [--quick] [-m] [KEY=VALUE ...]", __doc__)
    parser.add_argument("--json", action="store_true", help="the same for a program")
    parser.add_argument("--quick", action="store_true", help="compare the weights' sizes alone: hashes take 1 s a GB")
    return parser
