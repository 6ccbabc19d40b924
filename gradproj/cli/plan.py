"""``gradproj plan``, with the arguments of a ``gradproj run``: what that would do. Does nothing itself."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gradproj.cli import composed
from gradproj.errors import NotHere
from gradproj.execution.plan import Cell, cell, total
from gradproj.execution.settings import keys
from gradproj.execution.settings.compose import data_folder
from gradproj.runs.naming import config_of


def main(arguments: list[str]) -> int:
    """Print a line per run that ``arguments`` describe, and the sum; here, whatever launcher they name."""
    cells: list[Cell] = []
    here = [argument for argument in arguments if not argument.startswith("hydra/launcher=")]
    composed.each(here, lambda config: cells.append(_plan(config)), "gradproj plan")
    print(total(cells))
    return 0


def _plan(composition: DictConfig) -> Cell:
    settings = keys.check(composition)
    prompts = keys.read_prompts(settings["prompts"], data_folder("prompts"))
    weights = _weights(settings, prompts)
    climbed, after = keys.split_rewards(settings)
    config = config_of(composed.choice("model"), composed.choice("method"), list(keys.target(settings)), climbed)
    config |= {"prompts": prompts}
    if weights:
        config |= {"weights": {name: weights[name] for name in ("model", *climbed["rewards"])}}
    images = keys.images(settings, len(prompts))
    planned = cell(config, images, settings["max_retries"], Path(settings["results"]), after)
    print(planned.line())
    return planned


def _weights(settings: Mapping[str, Any], prompts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Part -> its weights' names and hashes, of parts that fit (``check``); empty where their files are not here."""
    from gradproj.execution.settings.check import check
    from gradproj.execution.settings.parts import parts

    try:
        made = parts(settings)
        check(made, settings, prompts)
        return {name: dict(part.weights) for name, part in {"model": made["model"], **made["rewards"]}.items()}
    except NotHere as error:
        print(f"not all could be checked, files are missing here: {error.reasons[0]}", file=sys.stderr)
        return {}
