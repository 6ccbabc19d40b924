"""Score finished runs' saved pictures with another reward: ``gradproj score pickscore results/runs/<run>``.

Several runs may be given, and settings of the reward, ``rewards.pickscore.source.repo=/folder``. Nothing is optimised
again and no record changes: the scores go to ``<run>/scores/<reward>.csv``, where ``gradproj table`` finds them. The
same command again scores what is missing.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.runs.environment import typed
from gradproj.runs.folder import Run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", help="the name of a file in configs/rewards, or in rewards/ of --config-dir")
    parser.add_argument("arguments", nargs="+", metavar="RUN|KEY=VALUE", help="folders results/runs/<run id>; settings")
    parser.add_argument("--config-dir", type=Path, help="a folder with YAML files of your own, as for gradproj run")
    parser.add_argument("--batch", type=int, default=8, help="pictures scored side by side; default: 8")
    given = parser.parse_intermixed_args(arguments)
    if given.batch < 1:
        raise UserError(f"--batch must be a whole number, at least 1, got {given.batch}: type --batch 8")
    settings = [argument for argument in given.arguments if "=" in argument and not Path(argument).is_dir()]
    folders = [Path(argument) for argument in given.arguments if argument not in settings]
    if not folders:
        raise UserError("no run given: type gradproj score REWARD results/runs/RUN ...")
    if given.config_dir:
        if not given.config_dir.is_dir():
            raise UserError(f"--config-dir {given.config_dir} is no folder: give the one that has your rewards/ in it")
        settings.append(f"hydra.searchpath=['file://{given.config_dir.resolve()}']")
    from gradproj.execution import weights
    from gradproj.execution.settings.compose import compose_reward

    runs = [Run.open(folder) for folder in folders]
    weights.settle_making(lambda: compose_reward(given.reward, settings), shlex.join(typed()))
    reward, values = compose_reward(given.reward, settings)
    refused = [not _scored(run, given.reward, reward, values, given.batch) for run in runs]
    return 2 if any(refused) else 0


def _scored(run: Run, name: str, reward: Any, settings: Mapping[str, Any], batch: int) -> bool:
    """Whether it went well; a run that cannot be scored does not stop the others."""
    from gradproj.execution.rescore import rescore

    try:
        print(f"{run.folder}: {rescore(run, name, reward, settings, batch)} images scored", flush=True)
    except UserError as error:
        print(f"gradproj score: {error}", file=sys.stderr)
        return False
    return True
