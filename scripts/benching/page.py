"""Tables in a page between markers, so that the prose around them stays: ``<!-- NAME -->`` ... ``<!-- /NAME -->``."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from gradproj.files import place
from gradproj.runs.environment import describe


def put(page: Path, name: str, text: str) -> None:
    """Place ``text`` between the markers of ``name``; ``ValueError`` where the page has none."""
    before = page.read_text(encoding="utf-8")
    between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->\n)", re.DOTALL)
    after, count = between.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", before)
    if count != 1:
        raise ValueError(
            f"{page} needs the markers <!-- {name} --> and <!-- /{name} -->, once each, on lines of their own"
        )
    place(page, after.encode())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, with the columns of the first row."""
    heads = list(rows[0])
    lines = [heads, ["--"] * len(heads), *([str(row[head]) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def where(device: torch.device) -> str:
    """Day, commit, versions, machine and how busy it is."""
    facts = describe(device)
    git, packages = facts["git"], facts["packages"]
    commit = f"commit {(git['commit'] or 'unknown')[:12]}{' with changes' if git['dirty'] else ''}"
    versions = f"torch {packages['torch']}, diffusers {packages['diffusers']}, Python {facts['python']}"
    busy = f"load {os.getloadavg()[0]:.1f} on {facts['cores']} cores"
    machine = f"{facts['device']}, {facts['threads']} thread(s), {busy}"
    return fill(f"{facts['written'][:10]}, {commit}; {versions}; {machine}", 118)
