"""Print what there is to choose from, a line each: ``gradproj list [models|methods|rewards|sweeps|trackers|prompts]``.

The line stands in each YAML file, after ``# about:`` at its top, and has licence, access and size. So it is beside
what it describes, and nothing has to be kept in step elsewhere.
"""

import argparse
from pathlib import Path

from gradproj.execution.settings.overrides import data_folder

# kind -> configs/<folder>, and what is typed before a name
GROUPS = {"models": "model", "methods": "method", "rewards": "rewards", "sweeps": "sweep", "trackers": "tracker"}
TYPED = {"models": "model=", "methods": "method=", "rewards": "reward=", "sweeps": "-m +sweep=", "trackers": "tracker="}
TYPED |= {"prompts": "prompts="}
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
    """Name -> its line, for all that there is of a kind."""
    if kind == "prompts":
        return {path.stem: _prompts(path) for path in sorted(data_folder("prompts").glob("*.txt"))}
    return {path.stem: _about(path) for path in sorted((data_folder("configs") / GROUPS[kind]).glob("*.yaml"))}


def _about(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix(ABOUT) for line in lines if line.startswith(ABOUT)), "no line # about: in its YAML")


def _prompts(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return f"{len(lines)} prompts, the first: {lines[0]}"
