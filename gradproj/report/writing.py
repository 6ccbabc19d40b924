"""The one writer of tables: CSV for programs, Markdown and LaTeX for papers, text for a terminal."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd
from tabulate import tabulate

from gradproj.report.table import Cell, Column, Row, Table, cells, headers

WIDTH = 100  # characters of a terminal
LABEL, HEADER = 34, 12  # characters of a first cell and of a header, before they are broken into lines


def csv(rows: Iterable[Row]) -> str:
    """Rows as CSV: columns in the order they first appear, six significant digits, blank where there is no number."""
    return pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def markdown(title: str, tables: Sequence[Table]) -> str:
    """``tables`` as GitHub's Markdown: the note that all of them share, then each table under its own title."""
    blocks = [f"# {title}", tables[0].note]
    for table in tables:
        rows = [[_markdown_cell(cell) for cell in row] for row in cells(table)]
        titles = [_markdown_text(title) for title in headers(table)]
        body = tabulate(rows, titles, tablefmt="pipe", colalign=_sides(table), disable_numparse=True)
        blocks += [f"## {_markdown_text(table.title)}", body]
    return "\n\n".join(blocks) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """Each of ``tables`` as a tabular for the package booktabs, to be put into a paper's own table environment."""
    blocks = ["% needs \\usepackage{booktabs}", f"% {tables[0].note}"]
    for table in tables:
        rows = [[_latex_cell(cell) for cell in row] for row in cells(table)]
        frame = pd.DataFrame(rows, columns=[_latex_text(title) for title in headers(table)])
        form = "".join(side[0] for side in _sides(table))
        text = frame.style.hide(axis="index").to_latex(hrules=True, column_format=form)
        blocks.append(f"% {table.title}\n{text.strip()}")
    return "\n\n".join(blocks) + "\n"


def terminal(table: Table, width: int = WIDTH) -> str:
    """A table without title and intervals. Where not all columns fit in ``width`` characters, the others are named."""
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


def _sides(table: Table) -> list[str]:
    """How each column is aligned: text to the left, numbers to the right; the first column is always text."""
    return ["left" if index == 0 or _is_text(column, table) else "right" for index, column in enumerate(table.columns)]


def _is_text(column: Column, table: Table) -> bool:
    return any(isinstance(row.get(column.key), str) for row in table.rows)


def _broken(text: str, width: int) -> str:
    """``text`` in lines of about ``width`` characters, broken after spaces and underscores only."""
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
    """``text`` with everything escaped that would be markup, which an underscore inside a word is not."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return text + (rf" {{\scriptsize {cell.interval}}}" if cell.interval else "")


def _latex_text(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: named.get(found[0], "\\" + found[0]), text)
