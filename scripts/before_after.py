"""Draw README's picture, docs/before_after.png, from the committed records: ``python scripts/before_after.py``.

It shows the first images of one comparison: the start, and what two of its methods kept. That takes seconds where the
runs' PNGs are on this disk. A picture that is not is made again from its record, as ``gradproj replay`` does, which
takes about a minute.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from gradproj.errors import UserError
from gradproj.execution.replay import replay
from gradproj.files import place
from gradproj.report.choose import Choice, find
from gradproj.report.compare import Comparison
from gradproj.report.first_images import SHOWN, first_images
from gradproj.report.plots import side_by_side

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "miniature", help="the folder with runs/")
    parser.add_argument("--comparison", default="shapes-shapes_aesthetic-common", help="as the tables call it")
    parser.add_argument("--methods", nargs="+", default=["none", "ours"], help="a row for each, below the start")
    parser.add_argument("--images", type=int, choices=range(1, 13), default=SHOWN, help="so many columns")
    parser.add_argument("--batch", type=int, help="as for gradproj replay, where env.json does not say")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "before_after.png")
    given = parser.parse_args()
    try:
        comparison = _chosen(given.results, given.comparison, given.methods)
        images = first_images(comparison, given.images, whole=False)
        for curves in comparison.methods.values():
            for image in (curves.images[index] for index in images):
                if not all(path.is_file() for path in curves.run.pictures(image).values()):
                    replay(curves.run.folder, image, [], given.batch)
        place(given.out, side_by_side.sheet(comparison, images, numbers=False))
    except UserError as error:
        sys.exit(str(error))
    print(given.out)


def _chosen(results: Path, name: str, methods: list[str]) -> Comparison:
    """The comparison ``name`` with ``methods`` alone, in this order; ``UserError`` says what there is instead."""
    comparison = find(results, Choice([name])).comparisons[0]
    absent = [method for method in methods if method not in comparison.methods]
    if absent:
        there = ", ".join(comparison.methods)
        raise UserError(f"{comparison.name} has no method {', '.join(absent)}; --methods takes some of: {there}")
    return replace(comparison, methods={method: comparison.methods[method] for method in methods})


if __name__ == "__main__":
    main()
