"""The driver, and a GPU with the memory that the command needs."""

import re
import subprocess

from gradproj.execution import devices
from gradproj.execution.doctor import Check, Command
from gradproj.execution.memory import GIB
from gradproj.execution.memory.counted import needs
from gradproj.execution.memory.planner import largest, plan

SECONDS = 20  # for nvidia-smi, which hangs where the driver does
CLUSTER = "on a cluster, look again inside a task: srun --gres=gpu:1 gradproj doctor ..."


def driver(command: Command) -> Check:
    """NVIDIA's driver and the newest CUDA that it knows, as nvidia-smi says."""
    state = "missing" if command.wants_gpu else "note"
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return Check("driver", state, "no nvidia-smi on the path", CLUSTER if command.wants_gpu else "")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("driver", "wrong" if command.wants_gpu else "note", f"nvidia-smi does not answer ({error})")
    version = re.search(r"Driver Version: *([\d.]+)", done.stdout)
    cuda = re.search(r"CUDA Version: *([\d.]+)", done.stdout)
    if done.returncode or not version:
        reason = " ".join((done.stdout + done.stderr).split())[:200]
        return Check("driver", "wrong" if command.wants_gpu else "note", f"nvidia-smi says: {reason}", devices.INSTALL)
    return Check("driver", "OK", version[1] + (f", for CUDA up to {cuda[1]}" if cuda else ""))


def gpu(command: Command) -> Check:
    """The GPU that the command would take: seen by torch, working, with room for the command."""
    import torch

    if not torch.cuda.is_available():
        told = f"torch sees none ({devices.no_gpu()})"
        wanted = f", and {_most(command) / GIB:.0f} GiB are needed, or less (docs/models.md)" if _most(command) else ""
        if not command.wants_gpu:
            return Check("gpu", "note", told + ("; the cluster's tasks need one" if command.launched else ""))
        return Check("gpu", "missing", told + wanted, f"{CLUSTER}, or type device=cpu, which takes hours a picture")
    name = next((name for name in command.devices if name.startswith("cuda")), "cuda")
    device, (free, total) = torch.device(name), devices.memory(name) or (0, 0)
    said = f"{torch.cuda.get_device_name(device)}, {total / GIB:.1f} GiB, {free / GIB:.1f} free"
    try:
        square = torch.ones(8, 8, device=device)
        works = (square @ square).sum().item() == 8**3
    except RuntimeError as error:  # such as a card that this torch has no kernels for
        return Check("gpu", "wrong", f"{said}; it does not compute ({str(error).splitlines()[0]})", devices.INSTALL)
    if not works:
        return Check("gpu", "wrong", f"{said}; it computes wrongly", "take another one: device=cuda:1")
    return _room(command, said, free, total)


def _room(command: Command, said: str, free: int, total: int) -> Check:
    plans = [plan(settings, (free, total)) for settings in command.runs]
    refused = [one.refused for one in plans if one.refused]
    if refused:
        return Check("gpu", "wrong", said, refused[0])
    chosen = max((one for one in plans if one.predicted), key=lambda one: largest(one.predicted or {}), default=None)
    if chosen is None:
        return Check("gpu", "OK", said + ("" if command.wants_gpu else "; this command needs little of it"))
    most = largest(chosen.predicted or {})
    need = f"{said}; {most / GIB:.1f} GiB are needed at the most (docs/models.md)"
    if most > free:
        return Check("gpu", "wrong", need, "type memory=auto, which chooses what fits")
    return Check("gpu", "OK", f"{said}; {chosen.said}" if chosen.said else need)


def _most(command: Command) -> int:
    """Bytes that the largest run needs as it stands."""
    return max((largest(found) for found in map(needs, command.runs) if found), default=0)
