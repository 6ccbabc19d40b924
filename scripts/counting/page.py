"""What the pages of measurements share: a table, where and when it was taken, and its place in a page.

The place is between ``<!-- NAME -->`` and ``<!-- /NAME -->``, so that the prose around it stays.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradproj.files import place
from gradproj.runs.environment import describe, git_state

ROOT = Path(__file__).parents[2]
WRITTEN = ("docs/performance.md", "results/full_size/gpu.md", "results/full_size/gpu.csv")  # by the benches themselves


def check(page: Path, names: Sequence[str]) -> None:
    """``SystemExit`` says which of ``names`` has no place in ``page``: before anything is measured."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    absent = [name for name in names if not _between(name).search(text)]
    if absent:
        lines = ", ".join(f"<!-- {name} --> and <!-- /{name} -->" for name in absent)
        raise SystemExit(f"{page} must be a file that has, each on a line of its own, {lines}")


def put(page: Path, name: str, text: str) -> None:
    """Place ``text`` between the markers of ``name``, which ``check`` has found."""
    before = page.read_text(encoding="utf-8")
    place(page, _between(name).sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", before).encode())


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(^<!-- {name} -->\n).*?(^<!-- /{name} -->\n)", re.DOTALL | re.MULTILINE)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, with the columns of the first row."""
    heads = list(rows[0])
    lines = [heads, ["--"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def where(device: torch.device) -> str:
    """Day, commit, versions, machine and how busy it is, before anything is measured."""
    facts, git = describe(device), git_state(ROOT, but=WRITTEN)
    commit = f"commit {(git['commit'] or 'unknown')[:12]}{' with changes' if git['dirty'] else ''}"
    versions = ", ".join(
        f"{package} {facts['packages'][package]}" for package in ("torch", "diffusers", "transformers")
    )
    card = f", CUDA {facts['cuda']}, driver {facts['driver']}" if device.type == "cuda" else ""
    busy = f"{facts['threads']} thread(s), load {os.getloadavg()[0]:.1f} on {facts['cores']} cores"
    return f"{facts['written'][:10]}, {commit}; {versions}, Python {facts['python']}; {facts['device']}{card}, {busy}"
