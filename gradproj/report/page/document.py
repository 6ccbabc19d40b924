"""The page's HTML. What records say is escaped by the template, or goes in as JSON that the script shows as text."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gradproj.report import table
from gradproj.report.build import TITLES, Report

PARTS = Path(__file__).parent
SCRIPTS = ("page.js", "keys.js", "first.js", "gallery.js", "chart.js", "detail.js")
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}  # of a plot that was written in both, the first is shown


def html(report: Report, data: Mapping[str, Any], curves: Sequence[Any], pictures: Sequence[Sequence[str]]) -> str:
    """The whole file: every table and plot of ``report``, and for the script ``data``, ``curves`` and ``pictures``."""
    figures = _figures(report.written)
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    blocks = {"data": data}
    blocks |= {f"curves-{index}": run for index, run in enumerate(curves)}
    blocks |= {f"pictures-{index}": block for index, block in enumerate(pictures)}
    environment = Environment(loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined)
    environment.globals.update(cells=table.cells, headers=table.headers)
    return environment.get_template("page.html").render(
        title=f"{data['title']}: report",
        summary=_summary(data),
        gap=data["gap"],
        rule=data["rule"],
        tables=report.tables,
        titles=TITLES,
        **{kind: _of(kind, figures) for kind in ("pareto", "latent", "worst")},
        blocks={name: _json(value) for name, value in blocks.items()},
        style=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
    )


def _summary(data: Mapping[str, Any]) -> str:
    images = sum(len(run["names"]) for run in data["runs"])
    parts = {"images": images, "runs": len(data["runs"]), "comparisons": len(data["comparisons"])}
    return " · ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in parts.items())


def _json(value: Any) -> Markup:
    """Data for the script. It has no ``<``, so that nothing in it can end the script element or begin a comment."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _of(kind: str, figures: Mapping[str, str]) -> dict[str, str]:
    """Those of ``figures`` that are of this kind, which their name begins with."""
    return {name: uri for name, uri in figures.items() if name.startswith(f"{kind}-")}


def _figures(written: Sequence[Path]) -> dict[str, str]:
    """Name -> data URI of every plot, in one of its formats."""
    plots: dict[str, str] = {}
    for suffix, kind in KINDS.items():
        for path in written:
            if path.suffix == suffix and path.stem not in plots:
                plots[path.stem] = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return plots
