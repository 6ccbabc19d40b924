"""Rows of cells -> CSV, Markdown (as GitHub shows it) and LaTeX (booktabs)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Cell:
    text: str
    note: str = ""  # small, behind the text
    bold: bool = False


@dataclass(frozen=True)
class Section:
    title: str
    header: list[str]
    rows: list[list[Cell]]


def digits(values: Sequence[float]) -> int:
    """Decimals that give the largest of ``values`` (NaN aside) four significant digits; at most 6."""
    largest = max((abs(value) for value in values if not math.isnan(value)), default=0)
    return min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 3


def number(value: float, digits: int) -> str:
    """``digits`` decimals, or nothing where there is no such number."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, form: str) -> str:
    """``[low, high]``, or nothing where there is none."""
    return "" if low is None or high is None or math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns in the order they first appear; six significant digits; blank where a row has no such number."""
    return pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def markdown(title: str, note: str, sections: Sequence[Section]) -> str:
    blocks = [f"# {title}", note]
    for section in sections:
        rule = ["---", *["---:"] * (len(section.header) - 1)]
        body = [[_markdown_cell(cell) for cell in row] for row in section.rows]
        table = [[_markdown_text(name) for name in section.header], rule, *body]
        blocks += [f"## {_markdown_text(section.title)}", "\n".join(f"| {' | '.join(row)} |" for row in table)]
    return "\n\n".join(blocks) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return (f"**{text}**" if cell.bold else text) + (f" <sub>{cell.note}</sub>" if cell.note else "")


def _markdown_text(text: str) -> str:
    """Escape what would be markup; an underscore inside a word is none."""
    return re.sub(r"[\\`*|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)


def latex(note: str, sections: Sequence[Section]) -> str:
    blocks = ["% needs \\usepackage{booktabs}", f"% {note}"]
    for section in sections:
        table = [
            [_latex_text(name) for name in section.header],
            *[[_latex_cell(cell) for cell in row] for row in section.rows],
        ]
        head, *body = (" & ".join(row) + r" \\" for row in table)
        lines = [f"% {section.title}", rf"\begin{{tabular}}{{l{'r' * (len(section.header) - 1)}}}", r"\toprule", head]
        blocks.append("\n".join([*lines, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(blocks) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    return (rf"\textbf{{{text}}}" if cell.bold else text) + (rf" {{\scriptsize {cell.note}}}" if cell.note else "")


def _latex_text(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda found: named.get(found[0], "\\" + found[0]), text)
