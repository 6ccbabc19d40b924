"""Records -> checked curves -> tables and plots. Imports no torch; the same records give the same bytes.

``load`` one run's numbers · ``compare`` which runs stand side by side, and may they · ``bootstrap`` intervals ·
``tables`` the main table · ``equal_target`` methods at one target level · ``render`` Markdown and LaTeX · ``plots``.
"""

from pathlib import Path

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.report import equal_target, plots, tables
from gradproj.report.compare import compare
from gradproj.report.load import load, summary

__all__ = ["build", "summary"]

SHOWN = 20  # problems listed in one message


def build(results: Path) -> list[Path]:
    """Check every run under ``results/runs`` and write ``results/tables`` and ``results/plots``; the written paths.

    ``UserError`` with every problem found, a line each, before anything is written.
    """
    runs, problems = load(results)
    comparisons, more = compare(runs)
    problems += more
    if problems:
        hidden = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError("\n".join([f"{results / 'runs'} cannot be tabulated:", *problems[:SHOWN], *hidden]))
    files = {f"tables/{name}": text.encode() for name, text in tables.files(comparisons).items()}
    files |= {f"tables/{name}": text.encode() for name, text in equal_target.files(comparisons).items()}
    files |= {f"plots/{name}": content for name, content in plots.files(comparisons).items()}
    for name, content in files.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, content)
    return [results / name for name in files]
