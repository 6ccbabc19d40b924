"""Published weight files: found, compared with their sha256, read without running code, put into a network whole."""

import pickle
import shlex
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zipfile import is_zipfile

import torch
from accelerate import init_empty_weights
from huggingface_hub import constants
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gradproj.errors import NotHere, UserError
from gradproj.files import sha256
from gradproj.pretrained import hub, survey
from gradproj.pretrained.layout import local_folder

Network = TypeVar("Network", bound=nn.Module)
FUZZ = (LookupError, TypeError, AttributeError)  # what a tampered pickle makes of torch.load
State = dict[str, Tensor]


@dataclass(frozen=True)
class Files:
    """Files of one repository or folder: the small ones are here, ``large`` ({name: sha256 or None}) after ``fetch``.

    ``weights`` says what they are: {repo: commit}, or {file: sha256} of a local folder, which has them all here.
    """

    folder: Path
    repo: str
    commit: str | None  # None: a local folder
    large: Mapping[str, str | None]
    weights: Mapping[str, str]

    def fetch(self) -> Path:
        """The folder, with ``large`` in it; ``UserError`` where one has another sha256."""
        if self.commit is not None:
            hub.snapshot(self.repo, self.commit, list(self.large))
            for name, expected in self.large.items():
                if expected is not None:
                    check(self.folder / name, expected)
        return self.folder


def locate(
    repo: str, revision: str, large: Mapping[str, str | None], small: Mapping[str, str | None] | None = None
) -> Files:
    """``small`` files, fetched, and ``large`` ones, found ({name: sha256, or None where it is not pinned}).

    ``repo`` is a hub id, read at ``revision``, or a local folder, for which ``revision`` says nothing. ``UserError``
    for a missing file, and for one with another sha256: of a hub's ``large`` files when they are fetched.
    """
    small = small or {}
    folder, commit, weights = local_folder(repo), None, {}
    if folder is None:
        folder, commit = hub.snapshot(repo, revision, list(small), later=list(large), pins={**small, **large})
        weights = {repo: commit}
    for name, expected in small.items() if commit else {**small, **large}.items():
        if not (folder / name).is_file():
            there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise UserError(f"{folder} has no {name} (there: {there}): give a folder that has, or a hub id")
        if commit is None or expected is not None:
            found = check(folder / name, expected)
            weights |= {} if commit else {name: found}
    return Files(folder, repo, commit, large, weights)


def one_file(place: str, expected: str | None) -> tuple[Path, str]:
    """A single file and its sha256: a local one, or one at an https:// URL, kept in torch's cache once it was fetched.

    ``UserError`` when its sha256 is not ``expected`` (None, for a local file only: not compared).
    """
    if not place.startswith("https://"):
        path = Path(place).expanduser()
    elif expected is None:
        raise UserError(f"{place} is only fetched with a sha256 to compare it with: give its sha256, or a local file")
    else:
        path = download(place, expected)
    return path, check(path, expected)


def cached(url: str) -> Path:
    """Where in torch's cache the file at ``url`` is kept."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def download(url: str, expected: str) -> Path:
    """The file at ``url`` in torch's cache, fetched unless it is there, and kept only if it is ``expected``."""
    survey.note_address(url, expected)
    path = cached(url)
    if not path.is_file():
        before = socket.getdefaulttimeout()
        try:
            socket.setdefaulttimeout(constants.HF_HUB_DOWNLOAD_TIMEOUT)  # torch sets none, and would wait for ever
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=expected)
        except (OSError, RuntimeError) as error:
            raise NotHere(
                [f"{url} cannot be fetched ({error}) to {path}."], [shlex.join(["curl", "-L", "-o", str(path), url])]
            ) from error
        finally:
            socket.setdefaulttimeout(before)
    return path


def check(path: Path, expected: str | None) -> str:
    """The file's sha256; ``UserError`` naming both when another one was ``expected``, or when it cannot be read."""
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the published file") from error
    if expected is not None and found != expected.lower():
        raise UserError(
            f"{path} is cut, renamed or another file: expected sha256 {expected}, found {found}; fetch it again, "
            "or give its own sha256 (null: take it as it is) if you mean this one"
        )
    return found


def read(path: Path) -> State:
    """The tensors of a safetensors file or of a pickle (tensors alone: a pickle with code in it is refused)."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, *FUZZ) as error:
        raise UserError(f"{path} is cut or no weight file ({error}): fetch it again") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and is not read: {str(error).splitlines()[0]}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no state dict of tensors: give the published file")
    return state


def fill(
    build: Callable[[], Network], state: State, path: Path, unused: Sequence[str] = (), without: Sequence[str] = ()
) -> Network:
    """``build()`` with ``state`` as its weights, frozen, in eval mode; ``unused`` begin the keys that may be left over.

    ``without`` names parts of the network that are left out, with their keys. Nothing is drawn or copied on the way.
    ``UserError`` for a missing, left-over or misshapen weight of ``path``.
    """
    with init_empty_weights(include_buffers=False):
        network = build()
    for name in without:
        setattr(network, name, None)
    unused, expected = (*unused, *without), network.state_dict()
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(key for key in state.keys() - expected.keys() if not key.startswith(unused))
    shapes = [key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape]
    for keys, what in ((missing, "lacks"), (extra, "has no place for"), (sorted(shapes), "has another shape of")):
        if keys:
            shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
            where = f"{type(network).__name__} {what}" if keys is extra else f"{path} {what}"
            raise UserError(f"{where} {shown}, so {path} was not made for it: give the published file")
    network.load_state_dict({key: state[key] for key in expected}, assign=True)
    return network.eval().requires_grad_(False)
