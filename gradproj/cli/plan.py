"""``gradproj plan``, with the arguments of a ``gradproj run``: what that would do. Does nothing itself."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gradproj.cli import composed
from gradproj.errors import NotHere
from gradproj.execution import settings as inputs
from gradproj.execution.compose import data_folder
from gradproj.execution.plan import Cell, cell, total
from gradproj.runs.naming import named


def main(arguments: list[str]) -> int:
    """Print a line per run that ``arguments`` describe, and the sum; here, whatever launcher they name."""
    cells: list[Cell] = []
    here = [argument for argument in arguments if not argument.startswith("hydra/launcher=")]
    composed.each(here, lambda config: cells.append(_plan(config)), "gradproj plan")
    print(total(cells))
    return 0


def _plan(config: DictConfig) -> Cell:
    settings = inputs.check(config)
    prompts = inputs.read_prompts(settings["prompts"], data_folder("prompts"))
    weights = _weights(settings, prompts)
    climbed, after = inputs.split_rewards(settings)
    covered = named(composed.choice("model"), composed.choice("method"), list(inputs.target(settings)), climbed)
    covered |= {"prompts": prompts}
    if weights:
        covered |= {"weights": {name: weights[name] for name in ("model", *climbed["rewards"])}}
    images = inputs.images(settings, len(prompts))
    planned = cell(covered, images, settings["max_retries"], Path(settings["results"]), after)
    print(planned.line())
    return planned


def _weights(settings: Mapping[str, Any], prompts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Part -> its weights' names and hashes, of parts that fit (``check``); empty where their files are not here."""
    from gradproj.execution.check import check
    from gradproj.execution.parts import parts

    try:
        made = parts(settings)
        check(made, settings, prompts)
        return {name: dict(part.weights) for name, part in {"model": made["model"], **made["rewards"]}.items()}
    except NotHere as error:
        print(f"not all could be checked, files are missing here: {error.reasons[0]}", file=sys.stderr)
        return {}
