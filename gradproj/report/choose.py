"""Which runs of a results folder are compared. Whatever is left out or refused is named, so that nothing is lost."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from gradproj.errors import UserError
from gradproj.report.comparable import problems
from gradproj.report.compare import Comparison, compare, task, task_name
from gradproj.report.load import Curves, unscored
from gradproj.report.load import curves as load
from gradproj.report.same_images import same_images
from gradproj.runs.folder import Run
from gradproj.runs.results import find as find_runs

SHOWN = 20  # problems listed in one message; of the others it says how many there are


class NoSuchRun(UserError):
    """No run or comparison of the folder has a chosen name."""


@dataclass(frozen=True)
class Choice:
    """What a person chose to compare.

    ``only`` has patterns of run ids or comparison names (empty: all of them), ``partial`` takes unfinished runs over
    the images that all runs share, and ``strict`` refuses where something would be left out.
    """

    only: Sequence[str] = ()
    partial: bool = False
    strict: bool = False

    def takes(self, *names: str) -> bool:
        """Whether a pattern matches any of ``names``; without patterns everything is taken."""
        return not self.only or any(fnmatchcase(name, pattern) for name in names for pattern in self.only)


EVERYTHING = Choice()


@dataclass
class Found:
    """The comparisons in the order of their names, and a line for each thing that was left out or that is wrong."""

    comparisons: list[Comparison] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def find(results: Path, choice: Choice = EVERYTHING) -> Found:
    """Check every chosen run under ``results/runs`` and put those together that may be compared.

    Raises ``UserError`` with a line for every run that is damaged, edited, made with other weights or that holds a
    record of another run; also where nothing is left to compare and, if ``strict``, where something was left out.
    """
    found = Found()
    runs = _opened(results, choice, found)
    groups = _named(runs)
    for name, group in groups.items():
        chosen = [run for run in group if choice.takes(run.folder.name, name, task_name(run))]
        compared, left_out = same_images(_loaded(chosen, found), choice.partial)
        found.left_out += left_out
        if compared:
            found.comparisons.append(compare(name, compared))
            found.wrong += problems(found.comparisons[-1])
    found.comparisons.sort(key=lambda comparison: comparison.name)
    _refuse(results, found.wrong + (found.left_out if choice.strict else []), "cannot be tabulated")
    if not found.comparisons and choice.only and not found.left_out:
        raise NoSuchRun(f"{results / 'runs'}: no run or comparison is called {' or '.join(choice.only)}; "
                        f"there are {', '.join(groups)}")  # fmt: skip
    if not found.comparisons:
        _refuse(results, ["no finished run", *found.left_out], "holds nothing to compare")
    return found


def _refuse(results: Path, lines: Sequence[str], what: str) -> None:
    """``UserError`` with ``lines``, where there are any."""
    if lines:
        hidden = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise UserError("\n".join([f"{results / 'runs'} {what}:", *lines[:SHOWN], *hidden]))


def _opened(results: Path, choice: Choice, found: Found) -> list[Run]:
    """The runs in the order of their ids; everything else that is there gets a line in ``found``.

    What is called like a run was a run and has been edited, which is wrong. Anything else is left out.
    """
    runs, others = find_runs(results)
    if not runs and not others:
        raise UserError(
            f"{results / 'runs'} holds no runs; type gradproj run first, or name another folder with --results"
        )
    for path, line in others.items():
        if choice.takes(path.name):
            (found.wrong if re.search(r"-[0-9a-f]{8}$", path.name) else found.left_out).append(line)
    return runs


def _named(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The name of every comparison -> its runs; where two tasks have one name, their fingerprints tell them apart."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[task(run)].append(run)
    taken = Counter(task_name(group[0]) for group in groups.values())
    names = {key: task_name(group[0]) for key, group in groups.items()}
    return {name if taken[name] == 1 else f"{name}-{key}": groups[key] for key, name in names.items()}


def _loaded(runs: Sequence[Run], found: Found) -> list[Curves]:
    """The curves of the runs that have recorded an image; what is wrong or missing is added to ``found``."""
    loaded = []
    for run in runs:
        try:
            curves = load(run)
            lacking = unscored(run, curves.images) if curves else {}
        except UserError as error:
            found.wrong.append(str(error))
            continue
        if curves is None:
            found.left_out.append(f"{run.folder} holds no finished image; finish it: {run.command}")
            continue
        found.left_out += [
            f"{reward} in {run.folder.name}: {count} of {len(curves.images)} images have no score of it as yet; "
            f"finish it: gradproj score {reward} {run.folder}"
            for reward, count in lacking.items()
        ]
        loaded.append(curves)
    return loaded
