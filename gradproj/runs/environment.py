"""Where a run ran: commit, versions, machine, command line. Written once beside its records, but for its peaks."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gradproj.files import place

COMMAND = "GRADPROJ_COMMAND"  # what was typed, as JSON: a cluster's worker is another process with other arguments
PACKAGES = ("gradproj", "torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "huggingface_hub")
PACKAGES += ("numpy", "pillow", "hydra-core", "omegaconf", "safetensors")


def describe(device: Any) -> dict[str, Any]:
    """JSON-ready facts for env.json; ``device`` is the torch device the model is on."""
    import torch

    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": typed(),
        "git": git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": device_name(device),
        "torch_device": str(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "driver": _driver() if device.type == "cuda" else None,
        "kernels": _kernels(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def _kernels() -> dict[str, Any]:
    """What torch may take for products, convolutions and attention: as torch has it, for gradproj sets nothing."""
    import torch

    cuda = torch.backends.cuda
    attention = {"flash": cuda.flash_sdp_enabled(), "memory_efficient": cuda.mem_efficient_sdp_enabled()}
    attention |= {"cudnn": cuda.cudnn_sdp_enabled(), "plain": cuda.math_sdp_enabled()}
    return {
        "float32_products": torch.get_float32_matmul_precision(),  # highest: no TF32
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "half_sums_in_half": cuda.matmul.allow_bf16_reduced_precision_reduction,
        "attention": [name for name, allowed in attention.items() if allowed],
    }


def typed() -> list[str]:
    """What was typed: the program's name and its arguments."""
    return json.loads(os.environ.get(COMMAND, "null")) or [Path(sys.argv[0]).name, *sys.argv[1:]]


def device_name(device: Any) -> str:
    """What a person calls the torch device: the GPU's or the processor's model."""
    if device.type != "cuda":
        return _processor()
    import torch

    return torch.cuda.get_device_name(device)


def read(folder: Path) -> dict[str, Any]:
    """What env.json in a run's ``folder`` says, an empty dictionary where it is missing or cut."""
    try:
        facts = json.loads((folder / "env.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def note_peaks(folder: Path, peaks: Mapping[str, int]) -> None:
    """Put the most bytes that each stage had on the GPU into env.json, beside those that were predicted."""
    facts = read(folder)
    if peaks and facts:
        memory = facts.setdefault("memory", {})
        before = memory.get("measured_bytes", {})
        memory["measured_bytes"] = before | {stage: max(most, before.get(stage, 0)) for stage, most in peaks.items()}
        place(folder / "env.json", json.dumps(facts, indent=2).encode() + b"\n")


def command(folder: Path) -> str:
    """What was typed to make the run in ``folder``, to type again."""
    try:
        return shlex.join(["gradproj-run", *read(folder)["command"][1:]])
    except (KeyError, TypeError):
        return "gradproj-run, as when the run was made"


def git_state(folder: Path, but: Sequence[str] = ()) -> dict[str, Any]:
    """Commit and whether tracked files differ from it; both None where no checkout has the files of ``folder``.

    An installed package may lie inside somebody's checkout, whose commit says nothing about it. The files ``but``,
    named from the checkout's root, may differ.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")
        commit = _git(folder, "rev-parse", "HEAD")
        looked_at = [":/", *(f":(top,exclude){path}" for path in but)]
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *looked_at)
        return {"commit": commit, "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
