"""Choose every method's learning rate and weight from the tuning sweep: choose.py [results/miniature/tuning].

A target has one level for all methods: ``SHARE`` of the way from the start to the reach of the method that reaches
least. A method's reach is the highest mean target of its second best setting, so that no single setting, which may have
been lucky or have spoilt its latents, decides for all. A setting is judged where its mean target first crosses the
level; one that never does is out.

- quality: the best mean of ``HELD_OUT``, and the quickest of the settings that are not clearly worse. Clearly worse is
  a mean paired difference to the best, over the prompts, of more than its standard error.
- speed: the fewest steps.

Where the records of a sweep are gone and only its table is left, --levels TABLE takes every target's level from there,
so that settings which are run later are judged as those were.

Prints the YAML of both for ``tuned`` in configs/model/shapes.yaml, one of them as a comment, which choice lies at an
edge of what was tried, and the commands that go on beyond it. Writes <folder>/chosen.csv with all settings.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tuning

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.report.bootstrap import per_prompt
from gradproj.report.choose import find
from gradproj.report.compare import Comparison
from gradproj.report.curve import at, between, crossing, step_at
from gradproj.report.load import Array, Curves
from gradproj.report.writing import csv

HELD_OUT = "shapes_rendering"
SHARE = 0.9
RULES = {
    "quality": f"the best {HELD_OUT} at the level, and the quickest of those within one standard error of it",
    "speed": "the fewest steps to the level",
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=tuning.FOLDER)
    parser.add_argument("--by", choices=RULES, default="quality", help="whose choice is no comment (default: quality)")
    parser.add_argument("--levels", type=Path, help="the chosen.csv of an earlier sweep, whose levels hold here, too")
    arguments = parser.parse_args()
    try:
        rows = read(arguments.folder, arguments.levels)
    except (UserError, OSError) as error:
        sys.exit(str(error))
    report(rows, arguments.folder, arguments.by)


def read(folder: Path, levels: Path | None = None) -> list[Row]:
    """All settings of the sweep with what they came to; ``UserError`` where a target was climbed from two starts."""
    found = find(folder)
    given = pd.read_csv(levels).groupby("target")[["level", "level_of"]].first().T if levels else {}
    for line in found.left_out:
        print(f"left out: {line}", file=sys.stderr)
    rows: list[Row] = []
    for target, group in groupby(sorted(found.comparisons, key=lambda one: one.target), key=lambda one: one.target):
        first, *others = group
        if others:
            raise UserError(
                f"{folder}/runs has runs of {target} on {1 + len(others)} lists of prompts or models; move those away "
                "that are not of today's sweep"
            )
        if levels and first.target not in given:
            raise UserError(f"{levels} has no level for {first.target}: leave out --levels, or those runs")
        rows += settings(first, given.get(first.target))
    return rows


def settings(comparison: Comparison, given: Sequence[Any] | None = None) -> list[Row]:
    """One target's runs as rows: setting, level, the step that crosses it and the held-out mean there, or NaN.

    ``given`` are the level and whose it is; None: they come from these runs.
    """
    runs = list(comparison.methods.values())
    rows = [_row(comparison.target, run) for run in runs]
    reach, slowest = min((_reach(rows, method), method) for method in {row["method"] for row in rows})
    level, slowest = ((1 - SHARE) * rows[0]["start"] + SHARE * reach, slowest) if given is None else given
    for row, run in zip(rows, runs, strict=True):
        row |= {"level": level, "level_of": slowest, "step": np.nan, "between_steps": "", HELD_OUT: np.nan}
        row |= {"behind": np.nan, "behind_error": np.nan, **dict.fromkeys(RULES, False)}
        if row["highest"] >= level:
            position = crossing(run.scores[row["target"]].mean(0), level)
            row["step"], row["between_steps"] = step_at(run.steps, position), between(run.steps, position)
            row["values"] = per_prompt(at(run.scores[HELD_OUT], position), comparison.prompts)
            row[HELD_OUT] = row["values"].mean()
    rows.sort(key=lambda row: (row["method"], row["lr"], row["weight"]))
    for _, group in groupby((row for row in rows if "values" in row), key=lambda row: row["method"]):
        _choose(list(group))
    return [{key: value for key, value in row.items() if key != "values"} for row in rows]


def _choose(reached: Sequence[Row]) -> None:
    """Mark what either rule takes of one method's settings that reach the level; ``values`` are one for each prompt."""
    best = max(reached, key=lambda row: row[HELD_OUT])
    for row in reached:
        row["behind"], row["behind_error"] = mean_and_error(best["values"] - row["values"])
    close = [row for row in reached if row is best or row["behind"] <= row["behind_error"]]
    for rule, among in (("quality", close), ("speed", reached)):
        min(among, key=lambda row: (row["step"], row["behind"]))[rule] = True


def mean_and_error(differences: Array) -> tuple[float, float]:
    """The mean of paired ``differences`` (prompts,) and its standard error, which is NaN for a single prompt."""
    count = len(differences)
    error = differences.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return float(differences.mean()), float(error)


def _reach(rows: Sequence[Row], method: str) -> float:
    """The highest mean target that two settings of the method reach, or its only one."""
    return sorted(row["highest"] for row in rows if row["method"] == method)[-2:][0]


def _row(target: str, run: Curves) -> Row:
    config, curve = run.run.config, run.scores[target].mean(0)
    method = config["names"]["method"]
    weight = config["method"]["weight"] if method in tuning.WEIGHTS else np.nan
    row = {"target": target, "method": method, "lr": float(config["method"]["optimizer"]["lr"])}
    return row | {"weight": float(weight), "n": len(run.images), "start": curve[0], "highest": curve.max()}


def report(rows: Sequence[Row], folder: Path, by: str = "quality") -> None:
    """Write chosen.csv; print both choices, and what lies at an edge with the commands that go on beyond it."""
    place(folder / "chosen.csv", csv(rows).encode())
    for rule, words in sorted(RULES.items(), key=lambda item: item[0] != by):
        print(f"# {rule}: {words}")
        for target, chosen in groupby([row for row in rows if row[rule]], key=lambda row: row["target"]):
            lines = [_yaml(row) for row in chosen]
            level = next(row for row in rows if row["target"] == target)
            head = (
                f"  {target}:  # level {level['level']:.4g}, {SHARE:.0%} of the way to the reach of {level['level_of']}"
            )
            print("\n".join(line if rule == by else f"# {line}" for line in [head, *lines]))
    for rule, target, method, tried, chosen in choices(rows):
        for line in tuning.edges(method, tried, chosen):
            print(f"# at an edge: {target}, {method}, {rule}: {line}")
    for command in extensions(rows, folder):
        print(f"# to run next: {tuning.typed(command)}")


def choices(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, set[tuning.Setting], tuning.Setting]]:
    """(rule, target, method, all settings that were tried, the chosen one) of every choice."""
    for rule, row in product(RULES, rows):
        if row[rule]:
            like = [other for other in rows if all(other[key] == row[key] for key in ("target", "method"))]
            yield rule, row["target"], row["method"], set(map(_setting, like)), _setting(row)


def extensions(rows: Sequence[Row], folder: Path) -> list[list[str]]:
    """The commands that try what the grid lacks and what lies beyond a choice at its edge; none when all is done."""
    wanted: defaultdict[tuple[str, str], set[tuning.Setting]] = defaultdict(set)
    for _, target, method, tried, chosen in choices(rows):
        wanted[target, method] |= tuning.more(method, tried, chosen)
    return [command for key, settings in wanted.items() for command in tuning.commands(*key, settings, folder)]


def _setting(row: Row) -> tuning.Setting:
    return tuning.Setting(row["lr"], None if np.isnan(row["weight"]) else row["weight"])


def _yaml(row: Row) -> str:
    weight = "" if np.isnan(row["weight"]) else f", weight: {float(row['weight'])}"
    return (
        f"    {row['method']}: {{lr: {row['lr']:g}{weight}}}  # {HELD_OUT} {row[HELD_OUT]:.4f} "
        f"at step {row['step']:.1f} ({row['between_steps']})"
    )


if __name__ == "__main__":
    main()
