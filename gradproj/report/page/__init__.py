"""One HTML file that holds a results folder's tables, plots, numbers and pictures, and needs no other file.

``numbers`` prepares what the page's script shows, ``thumbnails`` makes small copies of the pictures, and ``document``
puts both into ``page.html`` with ``page.css`` and the ``.js`` files. The same records and pictures give the same bytes.
"""

from pathlib import Path

from gradproj.files import place
from gradproj.report.build import Report, build, write
from gradproj.report.choose import EVERYTHING, Choice
from gradproj.report.page import document, numbers
from gradproj.report.page.thumbnails import Thumbnails
from gradproj.report.plots import grids, side_by_side

__all__ = ["build_page"]

SIDE = 256  # pixels: the longer side of a thumbnail, at most


def build_page(results: Path, side: int = SIDE, choice: Choice = EVERYTHING) -> Report:
    """Write what ``build`` writes, the plots that are made of pictures, and at last ``report.html``.

    ``UserError`` as ``build``, before anything is written; for a picture that is cut or another one than was
    recorded, after the tables.
    """
    report = build(results, choice)
    thumbnails = Thumbnails(side)
    data = numbers.head(results.resolve().name, report.comparisons, thumbnails)  # it looks at every picture: first
    drawn = side_by_side.files(report.comparisons) | grids.files(report.comparisons)
    report.written.extend(write(results, {f"plots/{name}": content for name, content in drawn.items()}))
    runs = [run for comparison in report.comparisons for run in comparison.methods.values()]
    page = document.html(report, data, [numbers.curves(run) for run in runs], thumbnails.blocks())
    place(results / "report.html", page.encode())
    report.written.append(results / "report.html")
    return report
