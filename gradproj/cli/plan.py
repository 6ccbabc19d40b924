"""What a ``gradproj run`` with the same arguments would do: the images that are missing, and why; hours, gigabytes.

Nothing is made and nothing fetched. What a run would have to fetch first, or what would keep it from that, is told at
the end. Runs whose files are not all here are found among the records by all else that their names cover.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gradproj.cli import composed
from gradproj.execution.plan import Cell, cell, total
from gradproj.execution.settings import keys
from gradproj.execution.settings.overrides import data_folder
from gradproj.execution.settings.prompts import read_prompts
from gradproj.runs.folder import Run
from gradproj.runs.naming import config_of
from gradproj.runs.results import find


def main(arguments: list[str]) -> int:
    """Print a line per run that ``arguments`` describe, and the sum; here, whatever launcher they name.

    What is no run in the results folder is told once on stderr.
    """
    runs: list[tuple[dict[str, Any], list[str], str, str]] = []  # settings, prompts, names of model and method

    def note(composition: DictConfig) -> None:
        settings = keys.check(composition)
        prompts = read_prompts(settings["prompts"], data_folder("prompts"))
        runs.append((settings, prompts, composed.choice("model"), composed.choice("method")))

    composed.each_here(arguments, note, "gradproj plan")
    if not runs:  # --help, --cfg job, which are answered
        return 0
    from gradproj.execution import weights

    coming = weights.coming([settings for settings, *_ in runs], arguments)
    find = cache(_find)
    cells = [_plan(*run, find, here=not coming) for run in runs]
    print("\n".join([total(cells), *coming]))
    return 0


def _plan(
    settings: dict[str, Any],
    prompts: list[str],
    model: str,
    method: str,
    find: Callable[[Path], list[Run]],
    here: bool,
) -> Cell:
    weights = _weights(settings, prompts) if here else {}
    climbed, after = keys.split_rewards(settings)
    config = config_of(model, method, list(keys.target(settings)), climbed) | {"prompts": prompts}
    if weights:
        config |= {"weights": {name: weights[name] for name in ("model", *climbed["rewards"])}}
    images = keys.images(settings, len(prompts))
    planned = cell(config, images, settings["max_retries"], find(Path(settings["results"])), after)
    print(planned.line())
    return planned


def _weights(settings: Mapping[str, Any], prompts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Part -> its weights' names and hashes, of parts that fit (``check``)."""
    from gradproj.execution import protocol
    from gradproj.execution.settings.check import check
    from gradproj.execution.settings.parts import parts

    made = parts({**settings, "device": "cpu"})  # nothing is computed: a plan is made where no GPU is, too
    check(made, settings, prompts)
    return {name: protocol.weights(name, part) for name, part in {"model": made["model"], **made["rewards"]}.items()}


def _find(results: Path) -> list[Run]:
    """The runs of a results folder; what else lies there is told."""
    runs, others = find(results)
    for other in others.values():
        print(other, file=sys.stderr)
    return runs
