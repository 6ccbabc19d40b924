"""Makes the tables and plots of a results folder from all of its records, and puts them beside the records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.report import choose
from gradproj.report.choose import EVERYTHING, Choice
from gradproj.report.compare import Comparison
from gradproj.report.plots import latent as latent_plot
from gradproj.report.plots import pareto
from gradproj.report.table import Table
from gradproj.report.tables import (
    diversity,
    equal_target,
    hacking,
    hypervolume,
    latent,
    main,
    significance,
    time_to_target,
)
from gradproj.report.writing import csv, latex, markdown

_EVERY = (main, equal_target, time_to_target, significance, hypervolume, hacking, diversity, latent)
PARTS = {part.__name__.rpartition(".")[-1]: part for part in _EVERY}
TITLES = {name: part.TITLE for name, part in PARTS.items()}


@dataclass(frozen=True)
class Report:
    """What was compared, its tables by name, what was left out (a line each) and the files that were written."""

    comparisons: list[Comparison]
    tables: dict[str, list[Table]]
    left_out: list[str]
    written: list[Path]


def build(results: Path, choice: Choice = EVERYTHING) -> Report:
    """Check the chosen runs under ``results/runs`` and write ``results/tables`` and ``results/plots``.

    Raises ``UserError`` with every problem found, a line each, before anything is written: what ``choose.find``
    refuses, and every diversity.csv that is damaged, foreign or out of date. Files of runs that are gone are removed.
    """
    found = choose.find(results, choice)
    tables = _tables(found.comparisons)
    files = {f"tables/{name}": text.encode() for name, text in _texts(tables).items()}
    drawn = pareto.files(found.comparisons) | latent_plot.files(found.comparisons)
    files |= {f"plots/{name}": content for name, content in drawn.items()}
    for path in _written_before(results):
        if f"{path.parent.name}/{path.name}" not in files:
            path.unlink()
    return Report(found.comparisons, tables, found.left_out, write(results, files))


def write(results: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write every file of ``files`` (path below ``results`` -> content); returns the full paths in the same order."""
    for name, content in files.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, content)
    return [results / name for name in files]


def roots(results: Path) -> list[Path]:
    """Every folder in ``results`` that holds runs of its own, then ``results`` itself."""
    inside = sorted(runs.parent for runs in results.glob("*/runs"))
    return [*inside, *([results] if (results / "runs").exists() else [])] or [results]


def _tables(comparisons: Sequence[Comparison]) -> dict[str, list[Table]]:
    """Every table's name with its tables, one for each comparison that has rows for it, in the comparisons' order.

    Raises ``UserError`` with the problems of all tables, so that a person can mend them in one go.
    """
    tables: dict[str, list[Table]] = {}
    problems: list[str] = []
    for name, part in PARTS.items():
        made = [_made(part.table, comparison, problems) for comparison in comparisons]
        tables[name] = [table for table in made if table is not None and table.rows]
    if problems:
        raise UserError("\n".join(problems))
    return {name: with_rows for name, with_rows in tables.items() if with_rows}


def _made(table: Callable[[Comparison], Table], comparison: Comparison, problems: list[str]) -> Table | None:
    """One table, or None where it cannot be made: the reason is then added to ``problems``."""
    try:
        return table(comparison)
    except UserError as error:
        problems.append(str(error))
        return None


def _texts(tables: Mapping[str, Sequence[Table]]) -> dict[str, str]:
    """File name -> text: every table as CSV and as Markdown, and the main table as LaTeX as well."""
    texts: dict[str, str] = {}
    for name, of_comparisons in tables.items():
        texts[f"{name}.csv"] = csv(row for table in of_comparisons for row in table.rows)
        texts[f"{name}.md"] = markdown(TITLES[name], of_comparisons)
    return texts | {"main.tex": latex(tables["main"])}


def _written_before(results: Path) -> list[Path]:
    """The tables and plots that an earlier ``build`` may have left; a person's own files there have other names."""
    tables = [path for path in (results / "tables").glob("*.*") if path.stem in PARTS]
    return tables + [path for kind in ("pareto", "latent") for path in (results / "plots").glob(f"{kind}-*.*")]
