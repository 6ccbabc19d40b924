"""Is the latent still noise? Its recorded statistics over the steps, as a table and as a plot."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gradproj.report import render
from gradproj.report.compare import Comparison
from gradproj.report.load import LATENT, Curves
from gradproj.report.plots import drawing
from gradproj.report.tables.main import EARLY, START

WORDS = {
    "latent_rms": "rms",
    "cosine": "cosine with the start",
    "flatness": "spectral flatness",
    "distance": "distance to the set",
}
NOTE = (
    "Means over images of each step's own latent, also where the best picture is kept (latent.csv has every scored "
    "step; blank: records of a form without that column). White noise has rms 1, a spectral flatness of .97 "
    "(periodogram averaged over 16 coefficients; 1 is flat) and lies about .15 from the feasible set (root mean square "
    "per entry, block 16; .146 for N = 65,536); no opt. is such noise."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text."""
    return {
        "latent.csv": render.csv([line for comparison in comparisons for line in rows(comparison)]),
        "latent.md": render.markdown("The latent", NOTE, [_section(comparison) for comparison in comparisons]),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of latent.csv: per method and scored step the mean of each statistic and the 5 % and 95 % quantiles
    over images; blank where records hold none.
    """
    lines = []
    for label, curves in comparison.methods.items():
        for place, step in enumerate(curves.steps):
            line = {"comparison": comparison.name, "method": label, "run": curves.run.folder.name}
            line |= {"n": len(curves.images), "step": int(step)}
            for name in LATENT:
                values = curves.latent[name][:, place]
                low, high = np.quantile(values, [0.05, 0.95])
                line |= {name: values.mean(), f"{name}_5": low, f"{name}_95": high}
            lines.append(line)
    return lines


def plots(comparisons: Sequence[Comparison]) -> dict[str, bytes]:
    """File name -> picture: a panel per statistic that every run of the comparison recorded."""
    pictures: dict[str, bytes] = {}
    for comparison in comparisons:
        there = [name for name in LATENT if all(_recorded(curves, name) for curves in comparison.methods.values())]
        if there:
            draw = lambda comparison=comparison, there=there: _figure(comparison, there)  # noqa: E731
            pictures |= drawing.pictures(f"latent-{comparison.name}", draw)
    return pictures


def _recorded(curves: Curves, name: str) -> bool:
    return bool(np.isfinite(curves.latent[name]).all())


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
        panel.set(xlabel="step", title=WORDS[name])
    drawing.legend(figure, panels[0], width)
    return figure


def _section(comparison: Comparison) -> render.Section:
    first = next(iter(comparison.methods.values()))
    body = [_row(START, first, 0)]
    for label, curves in comparison.methods.items():
        shown = [*np.flatnonzero(curves.steps[:-1] == EARLY).tolist(), len(curves.steps) - 1]
        body += [_row(label, curves, place) for place in shown]
    header = ["method", "steps", *(WORDS[name] for name in LATENT), "n"]
    return render.Section(comparison.title, header, body)


def _row(label: str, curves: Curves, place: int) -> list[render.Cell]:
    means = [render.number(curves.latent[name][:, place].mean(), 4) for name in LATENT]
    return list(map(render.Cell, [label, str(curves.steps[place]), *means, str(len(curves.images))]))
