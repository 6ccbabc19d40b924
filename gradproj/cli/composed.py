"""Composes the configurations that a command line describes, by Hydra, and hands each of them to one function.

``gradproj run`` and ``gradproj plan`` take the same arguments and share this. Hydra's own exceptions and the cluster's
become ``UserError`` and ``Incomplete``, by type.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gradproj.errors import Incomplete, UserError
from gradproj.execution import scheduler
from gradproj.execution.settings import keys
from gradproj.execution.settings.overrides import COMPLAINTS, check_launcher, data_folder, explained, understood
from gradproj.execution.settings.prompts import read_prompts

Task = Callable[[DictConfig], object]


class Composed(NamedTuple):
    """A run's checked settings, and the name of its model's YAML file."""

    settings: dict[str, Any]
    model: str


def parser(usage: str, description: str | None) -> argparse.ArgumentParser:
    """For a verb with options of its own beside a run's arguments, which ``parse_known_args`` leaves as they are."""
    return argparse.ArgumentParser(
        prog=" ".join(usage.split()[:2]),
        usage=usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def each(arguments: list[str], task: Task, program: str) -> None:
    """Call ``task`` with the configuration of every run that ``arguments`` describe, here or on a cluster.

    A run that fails does not stop the others of a sweep. At the end one exception has all of their messages.
    """
    failures: list[UserError | Incomplete] = []
    started: list[DictConfig] = []
    this_process = os.getpid()

    def guarded(config: DictConfig) -> None:
        started.append(config)
        try:
            check_launcher(HydraConfig.get(), arguments)
            task(config)
        except (UserError, Incomplete) as error:
            if os.getpid() != this_process:  # on a node of a cluster, from which Hydra brings the exception back
                raise
            failures.append(error)  # raised here, it would have Hydra print the arguments above our message

    try:
        _compose(arguments, guarded, program)
    except ValueError as error:  # Hydra's, for options that exclude each other
        if started:
            raise
        raise UserError(f"{error} ({program} --help)") from error
    except OSError as error:  # Hydra makes the folder of a sweep's logs in the results folder
        if started:
            raise
        raise UserError(
            f"cannot write {error.filename}: {error.strerror}; give another folder: results=PATH"
        ) from error
    if failures:
        kind = Incomplete if all(isinstance(error, Incomplete) for error in failures) else UserError
        raise kind("\n".join(dict.fromkeys(map(str, failures))))


def each_here(arguments: list[str], task: Task, program: str) -> None:
    """``each`` in this process whatever launcher ``arguments`` name, and without a folder of logs."""
    own = [argument for argument in arguments if not argument.startswith(("hydra/launcher=", "hydra.launcher."))]
    with tempfile.TemporaryDirectory() as folder:
        each([*own, f"hydra.sweep.dir='{folder}'"], task, program)


def all_here(arguments: list[str], program: str, later: str = "") -> list[Composed]:
    """Every run that ``arguments`` describe, checked, its prompts read; the set ``later`` need not be here yet."""
    runs: list[Composed] = []

    def note(config: DictConfig) -> None:
        settings = keys.check(config)
        if settings["prompts"] != later:
            read_prompts(settings["prompts"], data_folder("prompts"))
        runs.append(Composed(settings, choice("model")))

    each_here(arguments, note, program)
    return runs


def _compose(arguments: list[str], task: Task, program: str) -> None:
    """Let Hydra compose ``arguments`` and call ``task``; its exceptions become ours."""
    configs = data_folder("configs")
    words = sorted(
        understood(arguments), key=lambda word: word not in ("-m", "--multirun")
    )  # argparse: not amid settings
    sys.argv = [program, *words]  # the only place Hydra reads from
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises an error instead of printing it over many lines
    try:
        hydra.main(version_base="1.3", config_path=str(configs), config_name="config")(task)()
    except (*COMPLAINTS, OmegaConfBaseException) as error:
        raise UserError(_advice(explained(error), program)) from error
    except scheduler.interruptions() as error:
        told = str(error).strip().splitlines()
        reason = " ".join(told[:2]) if "has not produced any output" in str(error) else told[-1]
        raise Incomplete(
            f"a task was lost or refused ({reason}); its logs are in results/logs; give the same command"
        ) from error


def _advice(message: str, program: str) -> str:
    missing = "submitit_slurm" in message
    return f"{message} ({'pip install gradproj[slurm]' if missing else f'{program} --help lists the choices'})"


def choice(group: str) -> str:
    """The name of the YAML file that was chosen for ``group``, in the run under way."""
    return HydraConfig.get().runtime.choices[group]
