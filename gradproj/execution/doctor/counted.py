"""The bytes that a run's networks need, from the committed counts of the published sizes (results/full_size)."""

import csv
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from gradproj.execution.settings.overrides import data_folder
from gradproj.runs.naming import target

GIB = 2**30
CONTEXT = GIB  # what a card needs besides, at the least: the context and the kernels' workspaces
PROGRAM = 4 * GIB  # Python and its libraries, in the machine's memory
WIDTH = {"float64": 4.0, "float32": 2.0}  # against the two bytes of the counts; a reward's count is of four
Settings = Mapping[str, Any]


def needed(settings: Settings, model: str, held_out: str | None = None, **policies: str) -> int | None:
    """Bytes on a GPU at the least, of a whole batch; None for a model that is not counted.

    ``held_out`` and ``policies`` (checkpointing, decoder_checkpointing) stand in for those of ``settings``.
    """
    row = _row(settings, model, **policies)
    if row is None:
        return None
    weights, everything = int(row["weights_bytes"]), int(row["memory_bytes"])
    side = settings["model"]["resolution"] / _published(model)["resolution"]
    one = (everything - weights) * side**2
    return int(_width(settings) * (weights + settings["batch"] * one)) + _rewards(settings, held_out) + CONTEXT


def loading(settings: Settings, model: str) -> int:
    """Bytes of the machine's memory while the generator, the largest network, is loaded; 0 where it is not counted."""
    row = _row(settings, model)
    return int(_width(settings) * int(row["weights_bytes"])) + PROGRAM if row else 0


def cheaper(settings: Settings, model: str, room: int) -> str:
    """The first settings, from those that cost least time on, with which the run fits into ``room``; empty: none do."""
    memory = settings["model"]["memory"]
    blocks, after = "blocks", "held_out=after"
    for decoder, generator in ((None, None), (blocks, None), (blocks, blocks)):
        policies = {"decoder_checkpointing": decoder or memory["decoder_checkpointing"]}
        policies["checkpointing"] = generator or memory["checkpointing"]
        typed = [f"model.memory.decoder_checkpointing={decoder}"] * bool(decoder)
        typed += [f"model.memory.checkpointing={generator}"] * bool(generator)
        for held_out in ("during", "after"):
            found = needed(settings, model, held_out, **policies)
            if found is not None and found <= room:
                return " ".join([after] * (held_out == "after") + typed)
    return ""


def _row(settings: Settings, model: str, **policies: str) -> dict[str, str] | None:
    """The count of the model, of its size and its policies."""
    memory = {**(settings["model"].get("memory") or {}), **policies}
    rows = [row for row in _table("table") if row["model"] == model or row["model"].startswith(f"{model}_")]
    repo = str((settings["model"].get("source") or {}).get("repo", "")).lower()
    sized = [row for row in rows if row["model"].rpartition("_")[2] in repo] or rows
    keys = ("checkpointing", "decoder_checkpointing")
    fitting = [row for row in sized if all(row[key] == memory.get(key) for key in keys)]
    return max(fitting, key=lambda row: int(row["memory_bytes"]), default=None)


def _rewards(settings: Settings, held_out: str | None) -> int:
    """Bytes of the rewards that are held beside the generator."""
    during = (held_out or settings["held_out"]) == "during"
    held = settings["rewards"] if during else target(settings)
    sizes = {row["reward"]: 4 * int(row["parameters"]) for row in _table("rewards")}
    width = {name: WIDTH.get(settings["rewards"][name].get("dtype", "float32"), 1.0) / 2 for name in held}
    return int(sum(sizes.get(name, 0) * width[name] for name in held))


def _width(settings: Settings) -> float:
    return WIDTH.get(settings["model"].get("dtype", ""), 1.0)


@cache
def _published(model: str) -> dict[str, Any]:
    return yaml.safe_load((data_folder("configs") / "model" / f"{model}.yaml").read_text(encoding="utf-8"))["model"]


@cache
def _table(name: str) -> list[dict[str, str]]:
    with (data_folder("results") / "full_size" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
