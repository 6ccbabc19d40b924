"""The Hydra edge, ``gradproj-run`` and ``gradproj-plan``: compose, check, hand on; failures become words and codes.

Torch and everything that needs it is imported once there is work, so that ``--help`` and bad input answer at once.
"""

import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gradproj.errors import Incomplete, UserError
from gradproj.execution import settings as inputs
from gradproj.execution.compose import data_folder, in_short
from gradproj.execution.plan import Cell, cell, total
from gradproj.runs.environment import COMMAND
from gradproj.runs.naming import named
from gradproj.runs.pictures import before_after
from gradproj.runs.records import Run

if TYPE_CHECKING:
    from gradproj.execution.worker import Outcome

GET_SLURM = "pip install 'gradproj[slurm]'"


def main() -> None:
    """``gradproj-run``. Exit code 0: all recorded, 1: some images are not, 2: a message says what to change."""
    os.environ[COMMAND] = json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]])
    _apply(_run, "gradproj-run")
    sys.exit(0)


def plan() -> None:
    """``gradproj-plan``, with the arguments of a ``gradproj-run``: what that would do. Does nothing itself."""
    sys.argv[1:] = [one for one in sys.argv[1:] if not one.startswith("hydra/launcher=")]
    cells: list[Cell] = []
    _apply(lambda config: cells.append(_plan(config)), "gradproj-plan")
    print(total(cells))


def _apply(task: Callable[[DictConfig], None], program: str) -> None:
    """Hydra's main on ``task``, its failures turned into messages and exit codes."""
    application = hydra.main(version_base="1.3", config_path=str(data_folder("configs")), config_name="config")(task)
    sys.argv[1:] = inputs.choose_rewards(sys.argv[1:], data_folder("configs") / "rewards")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print over many lines, and leaves it to us
    try:
        application()
    except (UserError, Incomplete) as error:
        _leave(program, str(error), 1 if isinstance(error, Incomplete) else 2)
    except (HydraException, OmegaConfBaseException) as error:
        message, choices = in_short(error), f"{program} --help lists the choices"
        _leave(program, f"{message} ({GET_SLURM if 'submitit_slurm' in message else choices})")
    except OSError as error:
        _leave(program, f"{error.strerror}: {error.filename}")
    except RuntimeError as error:
        if not type(error).__module__.startswith("submitit"):
            raise
        lost = f"a task of the cluster was lost or refused ({str(error).strip().splitlines()[-1]})"
        _leave(program, f"{lost}; its logs are in results/logs; give the same command", 1)
    except KeyboardInterrupt:
        sys.exit(f"\n{program}: stopped; the same command goes on")


def _leave(program: str, message: str, code: int = 2) -> None:
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(code)


def _run(config: DictConfig) -> None:
    choices = HydraConfig.get().runtime.choices
    unfinished = run_once(config, model=choices["model"], method=choices["method"]).unfinished
    if unfinished:  # Hydra passes an exception on from any worker, and lets the other cells of a sweep go on
        raise Incomplete(unfinished)


def run_once(config: DictConfig, model: str, method: str) -> "Outcome":
    """Complete one composed run; answers what came of it. ``model`` and ``method`` are the chosen YAML files' names."""
    plain = inputs.check(config)
    prompts = inputs.read_prompts(plain["prompts"], data_folder("prompts"))
    from gradproj.execution import worker

    outcome = worker.complete(plain, prompts, model, method)
    _show(outcome.run, {outcome.run.name(*image) for image in inputs.images(plain, len(prompts))})
    return outcome


def _show(run: Run, own: Collection[str]) -> None:
    """One line of numbers and where to look; ``own`` are the images that this command was to see to."""
    from gradproj.report import summary

    if run.recorded():
        try:
            print(summary(run.folder))
        except UserError as error:
            if run.damaged(own):
                raise
            print(f"no summary: {error}", file=sys.stderr)  # another worker's record: this one's own are whole
        print(f"records:      {run.images}")
        print(f"before/after: {before_after(run.images) or 'no PNGs here'}")


def _plan(config: DictConfig) -> Cell:
    choices = HydraConfig.get().runtime.choices
    plain, after = inputs.split_rewards(inputs.check(config))
    prompts = inputs.read_prompts(plain["prompts"], data_folder("prompts"))
    covered = named(choices["model"], choices["method"], list(inputs.target(plain)), plain) | {"prompts": prompts}
    images = inputs.images(plain, len(prompts))
    one = cell(covered, images, plain["max_retries"], Path(plain["results"]), after)
    print(one.line())
    return one
