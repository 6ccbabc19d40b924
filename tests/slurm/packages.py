"""Slurm's programs, from Debian's packages."""

import os
import shutil
import subprocess

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class CannotStart(Exception):
    """Slurm is not installed here and cannot be."""


def get_packages() -> None:
    """Slurm's programs, installed where they are missing and this user may; else ``CannotStart``."""
    if not _missing():
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise CannotStart(
            f"no {', '.join(_missing())}, and only root can install them: apt-get install {' '.join(PACKAGES)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, timeout=600)
    if _missing():
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CannotStart(f"apt-get {' '.join(command)} did not bring {', '.join(_missing())}: {' '.join(last)}")


def _missing() -> list[str]:
    return [program for program in PROGRAMS if not shutil.which(program, path=SYSTEM_PATH)]
