"""All that a command needs, fetched and proven: every file is here with the hub's size and hash, without a network."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from tqdm import tqdm

from gradproj.errors import UserError
from gradproj.files import sha256
from gradproj.pretrained import hub, weights_file
from gradproj.pretrained.outlook import Outlook, look
from gradproj.pretrained.survey import Asked

GIT = 40  # hex digits of git's hash


@dataclass(frozen=True)
class Proof:
    """What was looked at; ``wrong``: each file that is missing or another one, and how; ``damaged``: one is another."""

    files: int
    bytes: int
    damaged: bool
    wrong: dict[tuple[str, str], str]  # (repository or address, name) -> what is wrong


@contextmanager
def offline() -> Iterator[None]:
    """As with HF_HUB_OFFLINE=1: nothing is asked of the hub."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fetch(asked: Asked) -> Proof:
    """Fetch what is missing, then hash all of it; a file that was damaged is fetched once more.

    ``UserError`` where something does not come, or comes damaged twice.
    """
    _bring(asked)
    proof = prove(asked)
    if proof.wrong:
        for repository in look(asked).repositories:
            for name in repository.files or {}:
                if (repository.request.repo, name) in proof.wrong:
                    hub.discard(repository.folder / name)
        for url in asked.addresses:
            if (url, "") in proof.wrong:
                weights_file.cached(url).unlink(missing_ok=True)
        _bring(asked)
        proof = prove(asked)
    if proof.wrong:
        raise UserError("\n".join(proof.wrong.values()))
    return proof


def prove(asked: Asked, hashes: bool = True) -> Proof:
    """Whether all that is ``asked`` for is here, without a request; ``hashes``: and has the hub's hashes, too."""
    with offline():
        outlook = look(asked)
    wrong: dict[tuple[str, str], str] = {}
    damaged = False
    with tqdm(
        total=_size(outlook), unit="B", unit_scale=True, desc="checking", disable=None if hashes else True
    ) as bar:
        for one in outlook.repositories:
            repo = one.request.repo
            if one.refused or not one.files:
                wrong[repo, ""] = one.refused or f"{repo} at {one.request.revision} is not here"
            for name, file in (one.files or {}).items():
                if name in (one.missing or {}):
                    wrong[repo, name] = f"{name} of {repo} is missing or cut"
                elif hashes and (reason := _another(one.folder / name, one.request.pins.get(name))):
                    wrong[repo, name], damaged = f"{name} of {repo} {reason}", True
                bar.update(file.size or 0)
        for one in outlook.addresses:
            if not one.here:
                wrong[one.url, ""] = f"{one.path} is missing"
            elif hashes and (found := sha256(one.path)) != one.sha256:
                wrong[one.url, ""], damaged = f"{one.path} should have sha256 {one.sha256}, it has {found}", True
    count = sum(len(one.files or {}) for one in outlook.repositories) + len(outlook.addresses)
    return Proof(count, _size(outlook), damaged, wrong)


def _bring(asked: Asked) -> None:
    for request in asked.requests.values():
        hub.snapshot(request.repo, request.revision, request.patterns)
    for url, expected in asked.addresses.items():
        weights_file.download(url, expected)


def _another(path: Path, pin: str | None) -> str:
    """How the hash differs from ``pin``, or else from the hub's, by which the cache names the file; empty: it does not.

    The hub's is the sha256 of a large file and git's hash of a small one.
    """
    expected = pin or (path.readlink().name if path.is_symlink() else "")
    try:
        if len(expected) == GIT:
            content = path.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        else:
            found = sha256(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if expected in ("", found) else f"should have the hash {expected}, it has {found}"


def _size(outlook: Outlook) -> int:
    files = sum(one.size for one in outlook.repositories)
    return files + sum(one.path.stat().st_size for one in outlook.addresses if one.here)
