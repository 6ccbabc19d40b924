"""What all plots share: colours, style, and a figure's files, whose bytes depend on the plotted numbers alone."""

import io
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradproj.report.compare import BASELINE
from gradproj.report.load import Curves
from gradproj.runs.scored_steps import EARLY

# A method has one colour in all plots: Okabe and Ito's, which all common kinds of colour vision tell apart, and three
# of Tol's.
COLOURS = {"ours": "#D55E00", "mpgr": "#0072B2", "prno": "#009E73", "reno": "#CC79A7", "none": "#7F7F7F"}
COLOURS |= {"ours_gradient": "#E69F00", "ours_latent": "#882255", "intervals": "#56B4E9", "planar": "#332288"}
COLOURS |= {"planar_low_pass": "#999933"}
OTHERS = ("#E69F00", "#56B4E9", "#000000", "#0072B2", "#009E73", "#CC79A7", "#7F7F7F", "#D55E00")
MARKERS = ("s", "^", "v", "P", "X", "p", "h", "*", "D")  # the circle is kept for ours
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "svg.hashsalt": "gradproj",
    "svg.fonttype": "path",
}


def pictures(name: str, draw: Callable[[], Figure]) -> dict[str, bytes]:
    """``<name>.png`` and ``<name>.svg`` of the figure that ``draw`` makes, without date and version in them."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    files = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = draw()
        for kind, words in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=160, metadata=words)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def looks(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Label -> (colour, marker). A label without a fixed colour gets the next one that none of ``labels`` has."""
    fixed = {label: COLOURS[label] for label in labels if label in COLOURS}
    free = cycle([colour for colour in OTHERS if colour not in fixed.values()] or OTHERS)
    markers = cycle(MARKERS)
    found = {
        label: (fixed[label] if label in fixed else next(free), next(markers)) for label in labels if label != BASELINE
    }
    return found | {BASELINE: (COLOURS[BASELINE], "o")}


def line(panel: Axes, x: Any, y: Any, label: str, look: tuple[str, str], large: NDArray[np.int64]) -> None:
    """One method's curve: a small marker at every point, a large one at the points with the indices ``large``."""
    width, order = (3.2, 3) if label == BASELINE else (1.4, 4)  # ours is wide, and below the others so as to hide none
    colour, marker = look
    panel.plot(x, y, color=colour, lw=width, marker=marker, ms=3, label=label, zorder=order)
    big: dict[str, Any] = {"ls": "", "marker": marker, "ms": 8, "mec": "white", "mew": 0.8}
    panel.plot(x[large], y[large], color=colour, zorder=order + 0.5, **big)


def large(curves: Curves) -> NDArray[np.int64]:
    """The indices of the points that get a large marker: step 60 and the last step."""
    return np.unique([*np.flatnonzero(curves.steps == EARLY).tolist(), len(curves.steps) - 1])


def legend(figure: Figure, panel: Axes, width: float) -> None:
    """The legend of one panel above the whole figure, in as many columns as fit in ``width`` inches."""
    handles, labels = panel.get_legend_handles_labels()
    fitting = int(width / (0.7 + 0.08 * max(map(len, labels))))  # a line and its label take so many inches
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), max(1, fitting)), frameon=False)
