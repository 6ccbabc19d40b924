"""Which runs of a results folder are compared, and what is left out: unfinished and foreign folders, each by name."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from gradproj.errors import UserError
from gradproj.report.compare import Comparison, compare, problems, task, task_name
from gradproj.report.load import Curves, unscored
from gradproj.report.load import curves as load
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, Share

SHOWN = 20  # lines of one message


class NoSuchRun(UserError):
    """No run or comparison of the folder has a chosen name."""


@dataclass(frozen=True)
class Choice:
    """What a person chose: patterns of run ids or comparison names, shared images only, nothing left out."""

    only: Sequence[str] = ()
    partial: bool = False
    strict: bool = False

    def takes(self, *names: str) -> bool:
        """Whether one of ``names`` matches a pattern, or there is no pattern."""
        return not self.only or any(fnmatchcase(name, pattern) for name in names for pattern in self.only)


EVERYTHING = Choice()


@dataclass
class Found:
    """The comparisons by name, a line for everything that is left out, and one for everything that is wrong."""

    comparisons: list[Comparison] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read(results: Path, choice: Choice = EVERYTHING) -> Found:
    """Check every chosen run under ``results/runs`` and put those together that may be compared.

    ``UserError``, a line for each, where a run is wrong (damaged, edited, with a record of another run, of other
    weights), where nothing is left to compare, and, if ``strict``, where something was left out.
    """
    found = Found()
    runs = _opened(results, choice, found)
    groups = _named(runs)
    for name, group in groups.items():
        chosen = [run for run in group if choice.takes(run.folder.name, name, task_name(run))]
        whole = _same_images(_loaded(chosen, found), choice, found)
        if whole:
            found.comparisons.append(compare(name, whole))
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
    if lines:
        hidden = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise UserError("\n".join([f"{results / 'runs'} {what}:", *lines[:SHOWN], *hidden]))


def _opened(results: Path, choice: Choice, found: Found) -> list[Run]:
    """The runs, by id. What is not called as a run is foreign; what is called so and has another config is edited."""
    folder = results / "runs"
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder} holds no runs; type gradproj run first, or name another folder with --results")
    runs = []
    for path in paths:
        if not (path / "config.yaml").exists():
            found.left_out += [f"{path} is no run (it has no config.yaml)"] if choice.takes(path.name) else []
            continue
        try:
            runs.append(Run.open(path))
        except UserError as error:
            lines = found.wrong if re.search(r"-[0-9a-f]{8}$", path.name) else found.left_out
            lines += [str(error)] if choice.takes(path.name) else []
    return runs


def _named(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Comparison's name -> its runs; a name that two tasks would share gets the task's fingerprint."""
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[task(run)].append(run)
    taken = Counter(task_name(group[0]) for group in groups.values())
    plain = {key: task_name(group[0]) for key, group in groups.items()}
    return {name if taken[name] == 1 else f"{name}-{key}": groups[key] for key, name in plain.items()}


def _loaded(runs: Sequence[Run], found: Found) -> list[Curves]:
    """The curves of the runs that have an image."""
    loaded = []
    for run in runs:
        try:
            own = load(run)
            lacking = unscored(run, own.images) if own else {}
        except UserError as error:
            found.wrong.append(str(error))
            continue
        if own is None:
            found.left_out.append(f"{run.folder} holds no finished image; finish it: {run.command}")
            continue
        found.left_out += [
            f"{reward} in {run.folder.name}: {count} of {len(own.images)} images have no score of it as yet; "
            f"finish it: gradproj score {reward} {run.folder}"
            for reward, count in lacking.items()
        ]
        loaded.append(own)
    return loaded


def _same_images(group: Sequence[Curves], choice: Choice, found: Found) -> list[Curves]:
    """The runs of a comparison over the same images: the whole ones, or all of them over those that they share."""
    if choice.partial and group:
        everywhere = set.intersection(*(set(curves.images) for curves in group))
        shared = [image for image in group[0].images if image in everywhere]
        if any(len(curves.images) > len(shared) for curves in group):
            most = max(len(curves.images) for curves in group)
            found.left_out.append(f"{task_name(group[0].run)}: the images that not all runs have ({len(shared)} of "
                                  f"{most} are shared by {len(group)} runs)")  # fmt: skip
        return [curves.of(shared) for curves in group] if shared else []
    whole = [curves for curves in group if not _unfinished(curves, found)]
    if not whole:
        return []
    counts = Counter(_seeds(curves) for curves in whole)
    seeds = max(counts, key=lambda count: (counts[count], count))
    for curves in whole:
        if _seeds(curves) != seeds:
            found.left_out.append(
                f"{curves.run.folder.name} has {_seeds(curves)} seeds of each prompt where {counts[seeds]} other runs "
                f"have {seeds}; give it as many (seeds={seeds}), or take the images that all have: --partial"
            )
    return [curves for curves in whole if _seeds(curves) == seeds]


def _seeds(curves: Curves) -> int:
    return 1 + max(image.seed for image in curves.images)


def _unfinished(curves: Curves, found: Found) -> bool:
    """Whether images of the run's prompts and seeds are missing; the line that says so."""
    everything = Share(len(curves.run.config["prompts"]), _seeds(curves))
    missing: list[ImageId] = sorted(set(everything) - set(curves.images))
    if missing:
        shown = " ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        found.left_out.append(
            f"{curves.run.folder.name} lacks {len(missing)} of {len(everything)} images ({shown}); finish it: "
            f"{curves.run.command} seeds={_seeds(curves)} shard=0 shards=1; or take the images that all have: --partial"
        )
    return bool(missing)
