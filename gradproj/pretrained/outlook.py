"""What is here and what is still to come of all that a command needs, without fetching a byte of it."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import get_session

from gradproj.errors import UserError
from gradproj.pretrained.hub_errors import explain, line
from gradproj.pretrained.listing import OFFLINE, File, Files, listing, match, named, storage
from gradproj.pretrained.survey import Asked, Request
from gradproj.pretrained.weights_file import cached

GONE = (404, 410)


@dataclass(frozen=True)
class Repository:
    """A request and its files. ``refused``: the hub, or what it has, says no; ``trouble``: it cannot be asked."""

    request: Request
    commit: str = ""
    files: Files | None = (
        None  # all that the request means; of an unknown listing, those that must or happen to be here
    )
    missing: Files | None = None  # those of them that are not whole here
    coming: int = 0  # bytes still to be fetched
    refused: str = ""
    trouble: str = ""
    terms: str = ""  # licence and gate, where the hub was asked

    @property
    def folder(self) -> Path:
        return storage(self.request.repo) / "snapshots" / self.commit

    @property
    def size(self) -> int:
        return sum(file.size or 0 for file in (self.files or {}).values())


@dataclass(frozen=True)
class Address:
    """A single file of torch's cache. ``size``: its bytes still to come, 0 where it is here or nobody knows."""

    url: str
    sha256: str
    path: Path
    coming: int = 0
    refused: str = ""
    trouble: str = ""

    @property
    def here(self) -> bool:
        return self.path.is_file()


@dataclass(frozen=True)
class Outlook:
    repositories: list[Repository]
    addresses: list[Address]

    @property
    def coming(self) -> int:
        """Bytes still to be fetched."""
        return sum(one.coming for one in (*self.repositories, *self.addresses))

    @property
    def whole(self) -> bool:
        """Whether all of it is here, by names and sizes."""
        return all(one.files and not one.missing for one in self.repositories) and all(
            one.here for one in self.addresses
        )


def look(asked: Asked) -> Outlook:
    """Every listing that ``asked`` needs; what goes wrong stands in each entry, nothing is raised."""
    repositories: list[Repository] = []
    for request in asked.requests.values():
        unreachable = next((one.trouble for one in repositories if one.trouble), "")  # asked in vain once, not for each
        repositories.append(_repository(request, unreachable))
    return Outlook(repositories, [_address(url, sha256) for url, sha256 in asked.addresses.items()])


@contextmanager
def patience() -> Iterator[HfApi]:
    """The hub's API, waiting for an answer as long as for a file; by itself it would wait for ever."""
    client = get_session()
    before, client.timeout = client.timeout, constants.HF_HUB_DOWNLOAD_TIMEOUT
    try:
        yield HfApi()
    finally:
        client.timeout = before


def _repository(request: Request, unreachable: str) -> Repository:
    repo, revision, patterns = request.repo, request.revision, request.patterns
    try:
        root, found = storage(repo), listing(repo, revision, unreachable)
        folder = root / "snapshots" / found.commit
        present = {path.relative_to(folder).as_posix(): File() for path in folder.rglob("*") if path.is_file()}
        must = {name: File() for name in named(patterns)}
        files, missing = match(must | present if found.files is None else found.files, patterns, folder)
    except UserError as error:
        return Repository(request, refused=str(error))
    except (HTTPError, OSError, ValueError) as error:
        return Repository(request, refused=explain(error, repo, revision))
    coming = {file.sha256 or file.git or name: file.size or 0 for name, file in missing.items()}
    size = sum(size for name, size in coming.items() if not (root / "blobs" / name).is_file())  # or another commit's
    refused = "" if found.files is None else _unfit(request, files)
    return Repository(request, found.commit, files, missing, size, refused, found.trouble, found.terms)


def _unfit(request: Request, files: Files) -> str:
    """What the settings expect and the repository does not have; empty where it has all."""
    absent = [name for name in named(request.patterns) if name not in files]
    if absent or not files:
        page = f"{constants.ENDPOINT}/{request.repo}/tree/{request.revision}"
        return (
            f"{request.repo} has no {', '.join(absent or request.patterns)} at {request.revision}: look at {page}, "
            "then give another repository or revision"
        )
    for name, expected in request.pins.items():
        found = files[name].sha256 if name in files else None
        if found not in (None, expected):
            return (
                f"{request.repo} lists {name} at {request.revision} with sha256 {found}, the settings expect "
                f"{expected}: give the revision that has it, or the sha256 of this one if you mean it"
            )
    return ""


def _address(url: str, sha256: str) -> Address:
    path = cached(url)
    if path.is_file():
        return Address(url, sha256, path)
    if constants.is_offline_mode():
        return Address(url, sha256, path, trouble=OFFLINE)
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as answer:
            return Address(url, sha256, path, int(answer.headers.get("Content-Length") or 0))
    except urllib.error.HTTPError as error:  # a server that has the file may still refuse to speak of it
        refused = f"{url} is not there ({error.code} {error.reason})" if error.code in GONE else ""
        return Address(url, sha256, path, refused=refused)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Address(url, sha256, path, trouble=f"{url} cannot be reached ({line(error)})")
