"""Python and its packages, the machine's memory, the disk of the results."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from gradproj.execution.doctor import Check, Command
from gradproj.execution.memory import GIB
from gradproj.execution.memory.counted import loading
from gradproj.execution.memory.planner import plan
from gradproj.files import existing

INSTALL = "in the checkout, type .venv/bin/pip install -c constraints.txt -e ."
SHOWN = ("torch", "diffusers", "transformers", "huggingface-hub")
LITTLE = 10**9  # bytes: some thousand records with their pictures


def python() -> Check:
    """The interpreter's version, against the one that gradproj declares."""
    wanted, found = metadata("gradproj")["Requires-Python"], platform.python_version()
    if SpecifierSet(wanted).contains(found):
        return Check("python", "OK", f"{found} ({sys.executable})")
    return Check("python", "wrong", f"{found}, {wanted} is needed", "type make run PYTHON=python3.12")


def packages() -> Check:
    """Every declared dependency: there, and in its range."""
    wrong, missing = [], []
    for requirement in map(Requirement, requires("gradproj") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(str(requirement))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} ({requirement.specifier} is needed)")
    if wrong or missing:
        return Check("packages", "wrong" if wrong else "missing", ", ".join([*wrong, *missing]), INSTALL)
    return Check("packages", "OK", ", ".join(f"{name} {version(name)}" for name in SHOWN))


def torch_build() -> Check:
    """Whether torch can be imported, and what for it was built."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of it that cannot be loaded
        reason = str(error).splitlines()[0]
        return Check("torch", "wrong", f"cannot be imported ({reason})", INSTALL)
    return Check(
        "torch",
        "OK",
        f"{torch.__version__}, " + (f"for CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"),
    )


def memory(command: Command) -> Check:
    """The machine's memory, against the largest network that goes through it, and the rewards that stay in it."""
    from gradproj.execution.devices import memory

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    chosen = [plan(settings, memory(settings["device"])).settings for settings in command.runs]
    needed = max(map(loading, chosen), default=0)
    said = f"{total / GIB:.1f} GiB of RAM" + (
        f", about {needed / GIB:.0f} needed to load the networks" if needed else ""
    )
    if total >= needed:
        return Check("memory", "OK", said)
    state = "note" if command.launched else "wrong"
    return Check("memory", state, said, "take a machine with more, or on a cluster type hydra.launcher.mem_gb=NUMBER")


def results(command: Command) -> Check:
    """Room for records in the results folder, and whether it can be written to."""
    free = {}
    for folder in sorted({Path(settings["results"]).absolute() for settings in command.runs}):
        there = existing(folder)
        free[folder] = shutil.disk_usage(there).free
        if not there.is_dir() or not os.access(there, os.W_OK):
            reason = "cannot be written to" if there.is_dir() else "is no folder"
            return Check("results", "wrong", f"{there} {reason}", "type results=FOLDER")
        if free[folder] < LITTLE:
            return Check("results", "wrong", f"{there} has {free[folder] / 1e9:.2f} GB free", "type results=FOLDER")
    return Check("results", "OK", f"{', '.join(map(str, free))}, {min(free.values()) / 1e9:.1f} GB free")
