"""The page's HTML: everything from the records is escaped here or goes in as JSON that the script reads as text."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

PARTS = Path(__file__).parent
SCRIPTS = ("page.js", "gallery.js", "chart.js", "detail.js")
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}  # the first that is there is shown


def html(
    data: Mapping[str, Any], curves: Sequence[Any], pictures: Sequence[Sequence[str]], written: Sequence[Path]
) -> str:
    """The whole file. ``written``: the tables (.md) and plots (.svg, .png) to show, in this order."""
    plots = _plots(written)
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    blocks = [_json("data", data)]
    blocks += [_json(f"curves-{index}", run) for index, run in enumerate(curves)]
    blocks += [_json(f"pictures-{index}", block) for index, block in enumerate(pictures)]
    values = {
        "title": escape(f"{data['title']}: report"),
        "summary": escape(_summary(data)),
        "style": (PARTS / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
        "tables": "\n".join(_table(path, index == 0) for index, path in enumerate(_named(written, ".md"))),
        "plots": "\n".join(_figure(path, True) for name, path in plots.items() if not name.startswith("worst-")),
        "worst": "\n".join(_figure(path) for name, path in plots.items() if name.startswith("worst-"))
        or "<p>None: they need the pictures, which are not on this disk.</p>",
        "gap": escape(data["gap"]),
        "blocks": "\n".join(blocks),
    }
    template = (PARTS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _summary(data: Mapping[str, Any]) -> str:
    images = sum(len(run["names"]) for run in data["runs"])
    parts = {"images": images, "runs": len(data["runs"]), "comparisons": len(data["comparisons"])}
    return " · ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in parts.items())


def _json(name: str, value: Any) -> str:
    """Data for the script; no ``<`` in it, so that nothing in it ends the element or begins a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _named(written: Sequence[Path], suffix: str) -> list[Path]:
    return [path for path in written if path.suffix == suffix]


def _plots(written: Sequence[Path]) -> dict[str, Path]:
    """Name -> file, one kind of each plot."""
    plots: dict[str, Path] = {}
    for suffix in KINDS:
        plots |= {path.stem: path for path in _named(written, suffix) if path.stem not in plots}
    return plots


def _table(path: Path, shown: bool) -> str:
    """A Markdown file as a part to open and close. Its raw HTML stays text, but for <sub>, the tables' small print."""
    title, _, text = path.read_text(encoding="utf-8").partition("\n")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r"&lt;(/?sub)&gt;", r"<\1>", body)
    body = re.sub(r"<(/?)h2>", r"<\1h3>", body)
    body = body.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    summary = f"<summary><h3>{escape(title.lstrip('# '))}</h3> <code>{escape(path.name)}</code></summary>"
    return f"<details{' open' if shown else ''}>{summary}\n{body}</details>"


def _figure(path: Path, zoom: bool = False) -> str:
    """``zoom``: selecting it makes it larger (gallery.js)."""
    content = base64.b64encode(path.read_bytes()).decode()
    name = escape(path.stem)
    more = ' data-zoom tabindex="0" role="button"' if zoom else ""
    image = f'<img{more} loading="lazy" decoding="async" alt="{name}" src="data:{KINDS[path.suffix]};base64,{content}">'
    return f"<figure><figcaption>{name}</figcaption>{image}</figure>"
