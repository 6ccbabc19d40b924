"""A single network with a repository or a folder of its own, that takes the place of one of a pipeline's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradproj.errors import UserError
from gradproj.files import sha256
from gradproj.pretrained import hub, layout
from gradproj.pretrained.network import ANOTHER, LOADING, load_network

FILES = ("config.json", "diffusion_pytorch_model.safetensors")


@dataclass(frozen=True)
class Component:
    """A single network in a folder: ``config.json`` beside ``diffusion_pytorch_model.safetensors``.

    ``key`` is the setting that names it, for messages.
    """

    folder: Path
    kind: type[Any]
    weights: Mapping[str, str]  # {hub id: commit}, or {file: sha256} for a local folder
    commit: str | None
    key: str

    @property
    def name(self) -> str:
        """Its hub id, or its folder."""
        return next(iter(self.weights)) if self.commit else str(self.folder)

    @property
    def config(self) -> dict[str, Any]:
        return layout.read_json(self.folder / "config.json")

    def load(self, dtype: torch.dtype) -> Any:
        """The network, its weights fetched if they are not here."""
        if self.commit is not None:
            hub.snapshot(self.name, self.commit, FILES)
        try:
            return load_network(self.kind, self.folder, self.name, dtype, f"{self.key}={ANOTHER}")
        except LOADING as error:
            name = self.kind.__name__
            raise UserError(f"{self.folder} cannot be loaded as {name}: {error}: type {self.key}={ANOTHER}") from error


def fetch_component(kind: type[Any], repo: str, revision: str, key: str) -> Component:
    """A network of its own repository or folder, its weights not yet fetched; ``UserError`` where it is not whole.

    ``key`` is the setting that has ``repo``.
    """
    folder = layout.local_folder(repo)
    if folder is None:
        folder, commit = hub.snapshot(repo, revision, FILES[:1], later=FILES[1:])
        return Component(folder, kind, {repo: commit}, commit, key)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {' and no '.join(missing)}: give a folder that has, or a hub id")
    return Component(folder, kind, {f"{kind.__name__}/{name}": sha256(folder / name) for name in FILES}, None, key)
