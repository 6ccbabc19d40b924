"""``gradproj plan``, with the arguments of a ``gradproj run``: what that would do. Does nothing itself."""

from pathlib import Path

from omegaconf import DictConfig

from gradproj.cli import composed
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
    plain, after = inputs.split_rewards(inputs.check(config))
    prompts = inputs.read_prompts(plain["prompts"], data_folder("prompts"))
    model, method = composed.choice("model"), composed.choice("method")
    covered = named(model, method, list(inputs.target(plain)), plain) | {"prompts": prompts}
    images = inputs.images(plain, len(prompts))
    planned = cell(covered, images, plain["max_retries"], Path(plain["results"]), after)
    print(planned.line())
    return planned
