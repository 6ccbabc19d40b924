"""Records and pictures -> one HTML file that needs nothing else. Imports no torch; the same input gives the same bytes.

``numbers`` what the page's script reads · ``thumbnails`` small copies of the pictures · ``document`` the HTML ·
``page.html``, ``page.css`` and the ``.js`` files: what they are put into.
"""

from pathlib import Path

from gradproj.files import place
from gradproj.report import build as build_tables
from gradproj.report.compare import compare
from gradproj.report.load import load
from gradproj.report.page import document, numbers
from gradproj.report.page.thumbnails import Thumbnails
from gradproj.report.plots import grids

__all__ = ["build"]

SIDE = 256  # pixels: the longer side of a thumbnail, at most


def build(results: Path, side: int = SIDE) -> list[Path]:
    """Tables and plots as ``gradproj.report.build``, the grids of worst images, and ``report.html``; what was written.

    ``UserError`` with every problem of the records, before anything is written; of a picture, after the tables.
    """
    written = build_tables(results)
    runs, _ = load(results)  # checked a moment ago
    comparisons, _ = compare(runs)
    thumbnails = Thumbnails(side)
    data = numbers.head(results.resolve().name, comparisons, thumbnails)
    for name, content in grids.files(comparisons).items():
        place(results / "plots" / name, content)
        written.append(results / "plots" / name)
    curves = [numbers.curves(run.run) for comparison in comparisons for run in comparison.methods.values()]
    page = document.html(data, curves, thumbnails.blocks(), written)
    place(results / "report.html", page.encode())
    return [*written, results / "report.html"]
