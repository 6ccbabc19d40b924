"""Write all that ``gradproj table`` writes, and beside it ``report.html``: a page to open in a browser.

Every ``<results>/*/runs`` (the committed ones and other people's) and ``<results>/runs`` (your own) is taken by itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from gradproj.cli.table import choice, every_root, parser, say_left_out
from gradproj.errors import UserError

if TYPE_CHECKING:
    from gradproj.report.build import Report

SIDE = 256


def main(arguments: list[str]) -> int:
    options = parser("report", __doc__)
    options.add_argument("--side", type=int, default=SIDE, help=f"pixels: a thumbnail's longer side, at most ({SIDE})")
    given = options.parse_args(arguments)
    if given.side < 1:
        raise UserError(f"--side is a number of pixels, 1 or more; got {given.side}")
    from gradproj.report.page import build_page

    return every_root(given.results, lambda root: _show(root, build_page(root, given.side, choice(given))))


def _show(root: Path, report: "Report") -> None:
    page = report.written[-1]
    print(f"{len(report.written) - 1} tables and plots under {root}")
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB): open it in a browser, {page.resolve().as_uri()}")
    say_left_out(report)
