"""What lies in a results folder: every run, and what is none. Imports no torch."""

from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs.folder import Run


def find(results: Path) -> tuple[list[Run], dict[Path, str]]:
    """Every run under ``results/runs``, and for everything else that is there a line with what to do.

    A folder without config.yaml and images is a run that begins this moment, or one that never did: it is left out.
    """
    runs: list[Run] = []
    others: dict[Path, str] = {}
    for path in sorted((results / "runs").glob("[!.]*")):
        if not path.is_dir():
            others[path] = f"{path} is no run's folder: not counted; move it away"
        elif (path / "config.yaml").exists():
            try:
                runs.append(Run.open(path))
            except UserError as error:
                others[path] = f"{error}: not counted"
        elif any(path.glob("images/[!.]*")):
            others[path] = f"{path} has images but no config.yaml: not counted; restore it or move it away"
    return runs, others
