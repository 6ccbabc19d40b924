"""The recorded statistics of the latent over the steps: a panel for each, with a curve of means for each method."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gradproj.report.compare import START, Comparison
from gradproj.report.load import LATENT
from gradproj.report.plots import drawing


def files(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> picture, one for each comparison, of the statistics that all of its runs recorded."""
    pictures: dict[str, bytes] = {}
    for comparison in comparisons:
        every = comparison.methods.values()
        there = [name for name in LATENT if all(np.isfinite(curves.latent[name]).all() for curves in every)]
        if there:
            draw = lambda comparison=comparison, there=there: _figure(comparison, there)  # noqa: E731
            pictures |= drawing.pictures(f"latent-{comparison.name}", draw)
    return pictures


def _figure(comparison: Comparison, names: Sequence[str]) -> Figure:
    width = 1 + 2.8 * max(2, len(names))
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    looks = drawing.looks(list(comparison.methods))
    for panel, name in zip(panels, names, strict=True):
        for label, curves in comparison.methods.items():
            drawing.line(panel, curves.steps, curves.latent[name].mean(0), label, looks[label], drawing.large(curves))
        first = next(iter(comparison.methods.values()))
        panel.axhline(first.latent[name][:, 0].mean(), color="black", ls=":", lw=1.2, label=START)
        panel.set(xlabel="step", title=LATENT[name])
    drawing.legend(figure, panels[0], width)
    return figure
