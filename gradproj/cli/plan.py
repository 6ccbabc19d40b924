"""``gradproj plan``, with the arguments of a ``gradproj run``: what that would do. Does nothing itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gradproj.cli import composed
from gradproj.errors import NotHere
from gradproj.execution.plan import Cell, cell, total
from gradproj.execution.settings import keys
from gradproj.execution.settings.overrides import data_folder
from gradproj.runs.folder import Run
from gradproj.runs.naming import config_of
from gradproj.runs.results import find


def main(arguments: list[str]) -> int:
    """Print a line per run that ``arguments`` describe, and the sum; here, whatever launcher they name.

    What is no run in the results folder, and files of parts that are not here, are told once on stderr.
    """
    cells: list[Cell] = []
    tell = cache(lambda line: print(line, file=sys.stderr))  # the same line once
    find = cache(partial(_find, tell=tell))
    composed.each_here(arguments, lambda composition: cells.append(_plan(composition, find, tell)), "gradproj plan")
    print(total(cells))
    return 0


def _plan(composition: DictConfig, find: Callable[[Path], list[Run]], tell: Callable[[str], None]) -> Cell:
    settings = keys.check(composition)
    prompts = keys.read_prompts(settings["prompts"], data_folder("prompts"))
    weights = _weights(settings, prompts, tell)
    climbed, after = keys.split_rewards(settings)
    config = config_of(composed.choice("model"), composed.choice("method"), list(keys.target(settings)), climbed)
    config |= {"prompts": prompts}
    if weights:
        config |= {"weights": {name: weights[name] for name in ("model", *climbed["rewards"])}}
    images = keys.images(settings, len(prompts))
    planned = cell(config, images, settings["max_retries"], find(Path(settings["results"])), after)
    print(planned.line())
    return planned


def _weights(
    settings: Mapping[str, Any], prompts: Sequence[str], tell: Callable[[str], None]
) -> dict[str, dict[str, str]]:
    """Part -> its weights' names and hashes, of parts that fit (``check``); empty where their files are not here."""
    from gradproj.execution import protocol
    from gradproj.execution.settings.check import check
    from gradproj.execution.settings.parts import parts

    try:
        made = parts({**settings, "device": "cpu"})  # nothing is computed: a plan is made where no GPU is, too
        check(made, settings, prompts)
        return {
            name: protocol.weights(name, part) for name, part in {"model": made["model"], **made["rewards"]}.items()
        }
    except NotHere as error:
        more = f" (and {len(error.reasons) - 1} more)" if len(error.reasons) > 1 else ""
        tell(f"not all could be checked, files are missing here: {error.reasons[0]}{more}; gradproj fetch brings them")
        return {}


def _find(results: Path, tell: Callable[[str], None]) -> list[Run]:
    """The runs of a results folder; what else lies there is told."""
    runs, others = find(results)
    for other in others.values():
        tell(other)
    return runs
