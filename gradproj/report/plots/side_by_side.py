"""The same images under every method of a comparison, in one picture: the starts on top, then a row for each method."""

from collections.abc import Sequence

from gradproj.report.compare import START, Comparison
from gradproj.runs.pictures import labelled_rows

MOST = 12  # images


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> PNG of the first images whose pictures all runs have; a comparison without any has no file."""
    sheets: dict[str, bytes] = {}
    for comparison in comparisons:
        runs = {label: curves.run for label, curves in comparison.methods.items()}
        first = next(iter(comparison.methods.values()))
        columns = [[first.run.start(image), *(run.kept(image) for run in runs.values())] for image in first.images]
        whole = [column for column in columns if all(path.is_file() for path in column)][:MOST]
        if whole:
            sheets[f"pictures-{comparison.name}.png"] = labelled_rows([START, *runs], whole)
    return sheets
