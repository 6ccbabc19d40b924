"""The page of a verification: what was compared, on what, with which weights, as JSON to read and to send."""

import errno
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradproj.errors import UserError
from gradproj.execution import protocol
from gradproj.execution.doctor import Check
from gradproj.execution.verify import Finding, Task, dtype_of
from gradproj.files import place
from gradproj.runs.environment import describe
from gradproj.runs.naming import named_settings

USUAL = {"quantization": "none", "decoder": "full"}  # whatever else a model has there has a page of its own


def folder(task: Task) -> Path:
    """Where the pages are, made where it is missing; ``UserError`` where it cannot be."""
    path = Path(task.settings["results"]) / "verified"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; give another folder: results=PATH") from error
    return path


def write(task: Task, made: Mapping[str, Any], checks: Sequence[Check]) -> Path:
    """Put the page into ``folder``; where it is. One of the same name is replaced."""
    model = made["model"]
    everything = {"model": model, **made["rewards"]}
    content = {
        "model": task.model,
        "well": all(check.well for check in checks),
        "checks": [_row(check) for check in checks],
        "settings": {key: named_settings(task.settings[key]) for key in ("model", "reward", "rewards")},
        "image": str(task.image),
        "prompt": task.prompt,
        "weights": {name: protocol.weights(name, part) for name, part in everything.items()},
        **describe(model.device),
        "peak_bytes": torch.cuda.max_memory_allocated(model.device) if model.device.type == "cuda" else None,
    }
    machine = re.sub(r"[^a-z0-9]+", "-", str(content["device"]).lower()).strip("-")
    node = task.settings["model"]
    kinds = [node[key] for key, usual in USUAL.items() if node.get(key, usual) != usual]
    name = "-".join([task.model.replace("/", "-"), dtype_of(node), *kinds, machine]) + ".json"
    path = folder(task) / name
    place(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def _row(check: Check) -> dict[str, Any]:
    row: dict[str, Any] = {"name": check.name, "state": check.state, "said": check.said, "advice": check.advice}
    numbers = check.numbers if isinstance(check, Finding) else {}
    return row | {key: _json(value) for key, value in numbers.items()}


def _json(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, list):
        return [_json(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
