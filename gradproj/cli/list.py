"""What there is to choose from: ``gradproj list [models|methods|rewards|prompts|sweeps]``, a name a line."""

import argparse

from gradproj.execution.compose import data_folder

KINDS = {"models": "model", "methods": "method", "rewards": "rewards", "sweeps": "sweep"}  # kind -> folder of YAMLs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="gradproj list", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=[*KINDS, "prompts"], help="default: all")
    given = parser.parse_args(arguments)
    for kind in [given.kind] if given.kind else [*KINDS, "prompts"]:
        folder = data_folder("prompts") if kind == "prompts" else data_folder("configs") / KINDS[kind]
        print(f"{kind}: {', '.join(sorted(path.stem for path in folder.iterdir() if path.is_file()))}")
    return 0
