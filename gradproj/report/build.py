"""All records of a results folder -> tables and plots beside them."""

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
from gradproj.report.table import Table, csv, latex, markdown
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

    ``UserError`` with every problem found, a line each, before anything is written (as ``choose.read``, and for a
    diversity.csv that is damaged, foreign or out of date). Files of runs that are gone are removed.
    """
    found = choose.read(results, choice)
    tables = _tables(found.comparisons)
    files = {f"tables/{name}": text.encode() for name, text in _texts(tables).items()}
    drawn = pareto.files(found.comparisons) | latent_plot.files(found.comparisons)
    files |= {f"plots/{name}": content for name, content in drawn.items()}
    for path in _own(results):
        if f"{path.parent.name}/{path.name}" not in files:
            path.unlink()
    return Report(found.comparisons, tables, found.left_out, write(results, files))


def write(results: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Place ``files`` (path below ``results`` -> content); the paths in this order."""
    for name, content in files.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place(path, content)
    return [results / name for name in files]


def roots(results: Path) -> list[Path]:
    """Every folder in ``results`` that holds runs (others', the committed ones among them), ``results`` itself last."""
    inside = sorted(runs.parent for runs in results.glob("*/runs"))
    return [*inside, *([results] if (results / "runs").exists() else [])] or [results]


def _tables(comparisons: Sequence[Comparison]) -> dict[str, list[Table]]:
    """Name -> the tables that have rows, of the comparisons in order; ``UserError`` with the problems of all."""
    tables: dict[str, list[Table]] = {}
    problems: list[str] = []
    for name, part in PARTS.items():
        made = [_made(part.table, comparison, problems) for comparison in comparisons]
        tables[name] = [table for table in made if table is not None and table.rows]
    if problems:
        raise UserError("\n".join(problems))
    return {name: own for name, own in tables.items() if own}


def _made(table: Callable[[Comparison], Table], comparison: Comparison, problems: list[str]) -> Table | None:
    try:
        return table(comparison)
    except UserError as error:
        problems.append(str(error))
        return None


def _texts(tables: Mapping[str, Sequence[Table]]) -> dict[str, str]:
    """File name -> text: a CSV and a Markdown file of every table, the main one in LaTeX, too."""
    texts: dict[str, str] = {}
    for name, own in tables.items():
        texts[f"{name}.csv"] = csv(row for table in own for row in table.rows)
        texts[f"{name}.md"] = markdown(TITLES[name], own)
    return texts | {"main.tex": latex(tables["main"])}


def _own(results: Path) -> list[Path]:
    """What an earlier ``build`` may have left."""
    tables = [path for path in (results / "tables").glob("*.*") if path.stem in PARTS]
    return tables + [path for kind in ("pareto", "latent") for path in (results / "plots").glob(f"{kind}-*.*")]
