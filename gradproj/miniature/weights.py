"""The shipped weights: a safetensors file for each network. Their sha256 stand in weights/SHA256SUMS."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from gradproj.errors import UserError

Network = TypeVar("Network", bound=nn.Module)
FOLDER = Path(__file__).parent / "weights"


def name_weights(name: str) -> dict[str, str]:
    """File -> sha256 of ``<name>.safetensors``. ``UserError`` where it is missing, cut or not the one of SHA256SUMS."""
    file, content = _read(name)
    return {file: hashlib.sha256(content).hexdigest()}


def load_network(build: Callable[[], Network], name: str, device: torch.device) -> Network:
    """The network that ``build`` makes with the weights of ``<name>.safetensors``, frozen and on ``device``.

    It is in eval mode, and the global random state stays as it is. Raises ``UserError`` where the file does not fit,
    and as ``name_weights``.
    """
    file, content = _read(name)
    with torch.random.fork_rng(devices=[]):
        network = build()
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{FOLDER / file} does not fit its network: {error}") from error
    return network.eval().requires_grad_(False).to(device)


def _read(name: str) -> tuple[str, bytes]:
    file = f"{name}.safetensors"
    try:
        content = (FOLDER / file).read_bytes()
        expected = dict(line.split()[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())[file]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"the miniature's weights {FOLDER / file} cannot be read ({error}); install gradproj again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise UserError(
            f"{FOLDER / file} is cut or not ours: expected sha256 {expected}, found {found}; "
            "restore it: git checkout, or install gradproj again"
        )
    return file, content
