"""Prints the table of docs/models.md: what each published model's default command would do on cards of several sizes.

Nothing is loaded or fetched: the prediction is that of ``gradproj run``, of ``gradproj doctor`` and in env.json.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradproj.execution.memory import GIB
from gradproj.execution.memory.counted import generator, loading
from gradproj.execution.memory.planner import card, largest, plan
from gradproj.execution.settings.compose import compose_run

ROOT = Path(__file__).parents[1]
CARDS = (16, 24, 32, 40, 48, 80)  # GB
SMALLER = "model.source.repo=Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers"
MODELS = {
    "`flux`": ["model=flux"],
    "`flux`, int8": ["model=flux", "model.quantization=int8"],
    "`flux`, nf4": ["model=flux", "model.quantization=nf4"],
    "`sdxl_turbo`": ["model=sdxl_turbo"],
    "`sd_turbo`": ["model=sd_turbo"],
    "`sana_sprint`": ["model=sana_sprint"],
    "`sana_sprint`, 0.6B": ["model=sana_sprint", SMALLER],
}


def table() -> list[str]:
    """The lines of the table, in Markdown."""
    heads = ["model", "download and disk", "RAM", *(f"{size} GB" for size in CARDS)]
    rows = [[name, *_row(words)] for name, words in MODELS.items()]
    line, *lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return [line, f"|---|---:|---:|{'---|' * len(CARDS)}", *lines]


def _row(words: list[str]) -> Iterator[str]:
    settings, plain = compose_run(words)[0], [word for word in words if "quantization" not in word]
    files = generator(compose_run(plain)[0])
    assert files is not None
    yield f"{(files.text + files.weights) / 1e9 + sum(map(_gigabytes, settings['rewards'])):.0f} GB"
    yield f"{loading(settings) / GIB:.0f} GiB"
    for size in CARDS:
        yield _cell(settings, size)


def _gigabytes(reward: str) -> float:
    """Of a reward's files, as the first line of its YAML says."""
    text = (ROOT / "configs" / "rewards" / f"{reward}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^# about: .* ([\d.]+) GB$", text, re.MULTILINE)
    assert found is not None, reward
    return float(found[1])


def _cell(settings: dict[str, Any], size: int) -> str:
    made = plan(settings, card(size))
    need = f"{largest(made.predicted or {}) / GIB:.0f}"
    if made.refused:
        return f"no: {need}"
    memory, batch = made.settings["model"]["memory"], made.settings["batch"]
    words = [f"batch {batch}"] if batch > 1 else []
    words += ["held-out on CPU"] if made.settings["held_out"] == "cpu" else []
    policies = [memory[key] for key in ("checkpointing", "decoder_checkpointing")]
    words += [" / ".join(policies)] if policies != ["none", "none"] else []
    return f"{need}: {', '.join(words) or 'all as it is'}"


if __name__ == "__main__":
    print("\n".join(table()))
