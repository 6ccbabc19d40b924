"""Slurm and what hands a sweep to it."""

import importlib.util
import shutil
import subprocess

from gradproj.execution.doctor import Check, Command

SECONDS = 20


def slurm(command: Command) -> Check:
    """sbatch on the path, a controller that answers, hydra-submitit-launcher installed."""
    program = shutil.which("sbatch")
    plugin = importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is not None
    absent = [name for name, there in (("sbatch", program), ("hydra-submitit-launcher", plugin)) if not there]
    if absent:
        advice = "log in where sbatch is" if not program else "type pip install 'gradproj[slurm]'"
        state = "missing" if command.launched else "note"
        return Check("slurm", state, f"not here: {', '.join(absent)}", advice if command.launched else "")
    if not command.launched:
        return Check("slurm", "note", f"{program}, hydra-submitit-launcher; this command does not use them")
    done = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        return Check("slurm", "wrong", f"sinfo says: {' '.join(done.stderr.split())[:200]}", "see that Slurm is up")
    return Check("slurm", "OK", f"{program}; partitions {', '.join(done.stdout.split())}")
