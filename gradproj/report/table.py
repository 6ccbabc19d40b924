"""A table as a value: its rows, and how people are shown them. ``writing`` puts it into files and on the terminal."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """Which number of every row is shown, and how it is written.

    ``form`` and ``ends_form`` are Python's format specifications. In them ``{digits}`` stands for the number of
    decimals that gives the largest number of the column four significant digits. Where ``per`` names a key, only rows
    with the same value under that key share their number of decimals.
    """

    key: str
    title: str = ""  # by default the key
    form: str = ""
    ends: str = ""  # the number is followed by its interval in brackets, from <ends>_low to <ends>_high of the row
    ends_form: str = ""  # by default ``form``
    per: str = ""
    never: str = ""  # what is written for a number that is NaN or infinite
    competes: Callable[[Row], bool] | None = None  # among the rows it takes, if two or more, the highest number is bold


@dataclass(frozen=True)
class Table:
    """The table of one comparison. A CSV has all of ``rows`` with all their keys; people are shown ``columns``."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str
    shown: Sequence[Row] | None = None  # what people are shown instead of ``rows``


class Cell(NamedTuple):
    """A number as it is written, its interval in brackets, and whether it is bold because it is the best."""

    text: str
    interval: str = ""
    bold: bool = False


def digits(values: Iterable[float]) -> int:
    """How many decimals give the largest of ``values`` four significant digits, at most 6; NaN and inf do not count."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0)
    return min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 3


def headers(table: Table) -> list[str]:
    """The titles of the columns, in order."""
    return [column.title or column.key for column in table.columns]


def cells(table: Table) -> list[list[Cell]]:
    """What people are shown of a table, row by row, under its ``headers``."""
    rows = table.rows if table.shown is None else table.shown
    return [list(row) for row in zip(*(_column(column, rows) for column in table.columns), strict=True)]


def _column(column: Column, rows: Sequence[Row]) -> list[Cell]:
    """The cells of one column, one for each row."""
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
