"""What there is to choose from: ``gradproj list [models|methods|rewards|prompts|sweeps]``, a line each.

Every YAML file of the built-in groups says in a line ``# about:`` at its top what it is: licence, access, size. That
line is printed, so that what is listed stands beside what it is about.
"""

import argparse
from pathlib import Path

from gradproj.execution.settings.compose import data_folder

GROUPS = {"models": "model", "methods": "method", "rewards": "rewards", "sweeps": "sweep"}  # -> folder in configs/
TYPED = {"models": "model=", "methods": "method=", "rewards": "reward=", "sweeps": "-m +sweep=", "prompts": "prompts="}
ABOUT = "# about: "


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj list", description="What there is to choose from, a line each: licence, access, size."
    )
    parser.add_argument("kind", nargs="?", choices=TYPED, help="default: all")
    given = parser.parse_args(arguments)
    for kind in [given.kind] if given.kind else TYPED:
        print(f"{kind} (gradproj run {TYPED[kind]}NAME)")
        for name, line in facts(kind).items():
            print(f"  {name:<20} {line}")
    return 0


def facts(kind: str) -> dict[str, str]:
    """Name -> its line, for one of the kinds."""
    if kind == "prompts":
        return {path.stem: _prompts(path) for path in sorted(data_folder("prompts").glob("*.txt"))}
    return {path.stem: _about(path) for path in sorted((data_folder("configs") / GROUPS[kind]).glob("*.yaml"))}


def _about(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix(ABOUT) for line in lines if line.startswith(ABOUT)), "no line # about: in its YAML")


def _prompts(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return f"{len(lines)} prompts, the first: {lines[0]}"
