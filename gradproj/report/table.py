"""A table as a value, and its one writer: CSV for programs, Markdown and LaTeX for papers, text for a terminal."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from tabulate import tabulate

Row = dict[str, Any]
WIDTH = 100  # characters of a terminal
LABEL, HEADER = 34, 12  # characters of a first cell and of a header, before they are broken into lines


@dataclass(frozen=True)
class Column:
    """Which number of every row is shown, and how it is written.

    In ``form`` and ``ends_form``, which are Python's formats, ``{digits}`` stands for as many decimals as give the
    largest number of the column (of the rows that agree in ``per``, where that is said) four significant digits.
    """

    key: str
    title: str = ""  # the key, where nothing else is said
    form: str = ""
    ends: str = ""  # behind the number stand, in brackets, the numbers <ends>_low and <ends>_high of its interval
    ends_form: str = ""  # as ``form``, where nothing else is said
    per: str = ""
    never: str = ""  # stands for a number that there is not, and for an end of an interval that is infinite
    competes: Callable[[Row], bool] | None = None  # of at least two rows that compete, the highest number is bold


@dataclass(frozen=True)
class Table:
    """Of one comparison. The CSV has all of ``rows``, under their own keys; people see ``columns``."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str
    shown: Sequence[Row] | None = None  # what people see instead of ``rows``


class Cell(NamedTuple):
    """A number as it is written, its interval in brackets, and whether it is the best."""

    text: str
    interval: str = ""
    bold: bool = False


def digits(values: Iterable[float]) -> int:
    """Decimals that give the largest of ``values`` (NaN aside) four significant digits; at most 6."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0)
    return min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 3


def csv(rows: Iterable[Row]) -> str:
    """Columns in the order they first appear; six significant digits; blank where a row has no such number."""
    return pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def markdown(title: str, tables: Sequence[Table]) -> str:
    """As GitHub shows it: the note that all ``tables`` share, then each table under its own title."""
    blocks = [f"# {title}", tables[0].note]
    for table in tables:
        rows = [[_markdown_cell(cell) for cell in row] for row in cells(table)]
        titles = [_markdown_text(title) for title in headers(table)]
        body = tabulate(rows, titles, tablefmt="pipe", colalign=_sides(table), disable_numparse=True)
        blocks += [f"## {_markdown_text(table.title)}", body]
    return "\n\n".join(blocks) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """Each of ``tables`` as a tabular of booktabs, to be put into a paper's own table."""
    blocks = ["% needs \\usepackage{booktabs}", f"% {tables[0].note}"]
    for table in tables:
        rows = [[_latex_cell(cell) for cell in row] for row in cells(table)]
        frame = pd.DataFrame(rows, columns=[_latex_text(title) for title in headers(table)])
        form = "".join(side[0] for side in _sides(table))
        text = frame.style.hide(axis="index").to_latex(hrules=True, column_format=form)
        blocks.append(f"% {table.title}\n{text.strip()}")
    return "\n\n".join(blocks) + "\n"


def terminal(table: Table, width: int = WIDTH) -> str:
    """Numbers without their intervals and titles; the first columns alone where all are wider than ``width``."""
    every = [[_broken(first.text, LABEL), *(cell.text for cell in others)] for first, *others in cells(table)]
    titles = [_broken(title, HEADER) for title in headers(table)]
    count, text = len(titles) + 1, ""
    while not text or (count > 1 and max(map(len, text.splitlines())) > width):
        count -= 1
        rows = [row[:count] for row in every]
        sides = _sides(table)[:count]
        text = tabulate(rows, titles[:count], tablefmt="simple", colalign=sides, disable_numparse=True)
    hidden = headers(table)[count:]
    return "\n".join([text, *([f"(not shown: {', '.join(hidden)})"] if hidden else [])])


def headers(table: Table) -> list[str]:
    """The titles of the columns."""
    return [column.title or column.key for column in table.columns]


def cells(table: Table) -> list[list[Cell]]:
    """What people see of a table, row by row, beside its ``headers``."""
    rows = table.rows if table.shown is None else table.shown
    return [list(row) for row in zip(*(_column(column, rows) for column in table.columns), strict=True)]


def _column(column: Column, rows: Sequence[Row]) -> list[Cell]:
    """A column's cells, one for each row."""
    values = [row.get(column.key, math.nan) for row in rows]
    competing = [row[column.key] for row in rows if column.competes and column.competes(row)]
    competing = [value for value in competing if not math.isnan(value)]
    best = max(competing) if len(competing) > 1 else math.nan
    written = []
    for row, value in zip(rows, values, strict=True):
        like = [other.get(column.key, math.nan) for other in rows if other.get(column.per) == row.get(column.per)]
        form = _decimal(column.form, like)
        ends = [row.get(f"{column.ends}_{end}", math.nan) for end in ("low", "high")]
        interval = _interval(ends, _decimal(column.ends_form or column.form, like), column.never)
        bold = bool(column.competes and column.competes(row) and value == best)
        written.append(Cell(_number(value, form, column.never), interval, bold))
    return written


def _decimal(form: str, values: Sequence[Any]) -> str:
    return form.format(digits=digits(values)) if "{digits}" in form else form


def _number(value: Any, form: str, never: str) -> str:
    return never if isinstance(value, float) and not math.isfinite(value) else f"{value:{form}}"


def _interval(ends: Sequence[float], form: str, never: str) -> str:
    return "" if any(map(math.isnan, ends)) else f"[{', '.join(_number(end, form, never) for end in ends)}]"


def _sides(table: Table) -> list[str]:
    """Text to the left, numbers to the right; the first column is a label."""
    return ["left" if index == 0 or _is_text(column, table) else "right" for index, column in enumerate(table.columns)]


def _is_text(column: Column, table: Table) -> bool:
    return any(isinstance(row.get(column.key), str) for row in table.rows)


def _broken(text: str, width: int) -> str:
    """``text`` in lines of about ``width`` characters, broken after a space or an underscore."""
    lines = [""]
    for word in re.findall(r"[^ _]+[ _]*|[ _]+", text):
        if lines[-1] and len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return (f"**{text}**" if cell.bold else text) + (f" <sub>{cell.interval}</sub>" if cell.interval else "")


def _markdown_text(text: str) -> str:
    """Escape what would be markup; an underscore inside a word is none."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return text + (rf" {{\scriptsize {cell.interval}}}" if cell.interval else "")


def _latex_text(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: named.get(found[0], "\\" + found[0]), text)
