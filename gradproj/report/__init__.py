"""Records -> checked curves -> tables and plots. Imports no torch; the same records give the same bytes.

``load`` one run's numbers · ``compare`` which runs stand side by side, and may they · ``bootstrap`` intervals · a file
each for a table or plot (``tables`` is the main one, ``paper`` what was published) · ``render`` Markdown and LaTeX ·
``drawing`` what plots share.
"""

from pathlib import Path

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.report.compare import compare
from gradproj.report.load import load, summary
from gradproj.report.plots import pareto
from gradproj.report.tables import (
    diversity,
    equal_target,
    hacking,
    hypervolume,
    latent,
    significance,
    time_to_target,
)
from gradproj.report.tables import main as tables

__all__ = ["build", "roots", "summary"]

TABLES = (tables, equal_target, time_to_target, significance, hypervolume, hacking, diversity, latent)
NAMES = ("main", "equal_target", "time_to_target", "tests", "hypervolume", "hacking", "diversity", "latent")
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
    texts = [part.files(comparisons) for part in TABLES]
    files = {f"tables/{name}": text.encode() for part in texts for name, text in part.items()}
    drawn = pareto.files(comparisons) | latent.plots(comparisons)
    files |= {f"plots/{name}": content for name, content in drawn.items()}
    stale = [path for path in _own(results) if f"{path.parent.name}/{path.name}" not in files]
    for path in stale:  # of runs that are gone
        path.unlink()
    for name, content in files.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, content)
    return [results / name for name in files]


def roots(results: Path) -> list[Path]:
    """``results`` (your own runs) and every folder in it that holds runs (others', the committed ones among them)."""
    return sorted(runs.parent for runs in [*results.glob("runs"), *results.glob("*/runs")]) or [results]


def _own(results: Path) -> list[Path]:
    """What an earlier ``build`` may have left."""
    tables = [path for path in (results / "tables").glob("*.*") if path.stem in NAMES]
    return tables + [path for kind in ("pareto", "latent") for path in (results / "plots").glob(f"{kind}-*.*")]
