"""What parts would fetch, found out without fetching anything: they are made, and stop where they ask for files.

A constructor asks for all of its files at once (``errors.all_of``), so that what it asks for is noted to the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from gradproj.errors import NotHere


@dataclass
class Request:
    """The files of a repository at a revision that match ``patterns``; ``pins``: name -> sha256, where one is known."""

    repo: str
    revision: str
    patterns: list[str] = field(default_factory=list)
    pins: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """What was asked for, each once: of the hub, at addresses (URL -> sha256), and local folders."""

    requests: dict[tuple[str, str], Request] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def survey() -> Iterator[Asked]:
    """Within it every request for files is noted in what it gives, and raises ``NotHere`` instead of being met."""
    asked = Asked()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def note_repository(repo: str, revision: str, patterns: Sequence[str], pins: Mapping[str, str | None]) -> None:
    """Called before a repository is read: under ``survey`` noted, and ``NotHere``."""
    if (asked := _asked.get()) is not None:
        request = asked.requests.setdefault((repo, revision), Request(repo, revision))
        request.patterns = list(dict.fromkeys([*request.patterns, *patterns]))
        request.pins |= {name: sha256.lower() for name, sha256 in pins.items() if sha256}
        raise NotHere([], [])


def note_address(url: str, sha256: str) -> None:
    """The same of a single file at ``url``."""
    if (asked := _asked.get()) is not None:
        asked.addresses[url] = sha256.lower()
        raise NotHere([], [])


def note_folder(folder: Path) -> None:
    """The same of a local folder, from which nothing is fetched, and which may take long to hash."""
    if (asked := _asked.get()) is not None:
        if folder not in asked.folders:
            asked.folders.append(folder)
        raise NotHere([], [])
