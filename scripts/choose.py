"""Choose every method's learning rate and weight from the tuning sweep: choose.py [results/miniature/tuning].

A target has one level for all methods: ``SHARE`` of the way from the start to the highest mean target that every method
reaches with some setting. A method gets the setting whose mean of ``HELD_OUT`` is best where its mean target first
crosses that level. Only learning rates that every method was offered may be chosen. Writes <folder>/chosen.csv with all
settings, and prints the YAML for ``tuned`` in configs/model/shapes.yaml.
"""

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gradproj.files import place
from gradproj.report.choose import Choice, find
from gradproj.report.curve import at, crossing, step_at
from gradproj.report.load import Curves
from gradproj.report.writing import csv

HELD_OUT = "shapes_rendering"
SHARE = 0.8


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/miniature/tuning")
    comparisons = find(folder, Choice(strict=True)).comparisons
    runs = [curves for comparison in comparisons for curves in comparison.methods.values()]
    rows = []
    for _, group in groupby(sorted(runs, key=_target), key=_target):
        rows += settings(list(group))
    place(folder / "chosen.csv", csv(rows).encode())
    for target, chosen in groupby((row for row in rows if row["chosen"]), key=lambda row: row["target"]):
        print(f"  {target}:")
        for row in chosen:
            weight = "" if np.isnan(row["weight"]) else f", weight: {row['weight']:g}"
            print(f"    {row['method']}: {{lr: {row['lr']:g}{weight}}}")


def settings(runs: list[Curves]) -> list[dict[str, Any]]:
    """One target's runs as rows: settings, the step that crosses the level, and the held-out mean there, or NaN."""
    rows = [_row(run) for run in runs]
    offered = [{row["lr"] for row in rows if row["method"] == method} for method in {row["method"] for row in rows}]
    shared = set.intersection(*offered)
    reach = min(
        max(row["highest"] for row in rows if row["method"] == method) for method in {r["method"] for r in rows}
    )
    level = (1 - SHARE) * rows[0]["start"] + SHARE * reach
    for row, run in zip(rows, runs, strict=True):
        row |= {"level": level, "step": np.nan, HELD_OUT: np.nan, "chosen": False}
        if row["highest"] >= level and row["lr"] in shared:
            position = crossing(run.scores[row["target"]].mean(0), level)
            row["step"] = step_at(run.steps, position)
            row[HELD_OUT] = at(run.scores[HELD_OUT], position).mean()
    for method in {row["method"] for row in rows}:
        candidates = [row for row in rows if row["method"] == method]
        max(candidates, key=lambda row: np.nan_to_num(row[HELD_OUT], nan=-1))["chosen"] = True
    return sorted(rows, key=lambda row: (row["method"], row["lr"], row["weight"]))


def _row(run: Curves) -> dict[str, Any]:
    config, curve = run.run.config, run.scores[_target(run)].mean(0)
    return {
        "target": _target(run),
        "method": config["names"]["method"],
        "lr": float(config["method"]["optimizer"]["lr"]),
        "weight": float(config["method"].get("weight", np.nan)),
        "n": len(run.images),
        "start": curve[0],
        "highest": curve.max(),
    }


def _target(run: Curves) -> str:
    return run.run.config["names"]["reward"]


if __name__ == "__main__":
    main()
