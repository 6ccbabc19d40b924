"""Which setting named a repository: a message tells to type ``rewards.clip.source.revision=main``, not the model's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_part: ContextVar[tuple[str, Mapping[str, Any]]] = ContextVar("part", default=("PART", {}))
_revisions: dict[tuple[str, str], str] = {}  # (repository, revision) -> the setting that last asked for it


@contextmanager
def part(key: str, source: Any) -> Iterator[None]:
    """Within it files are asked for by the part whose settings stand under ``key`` and have this ``source`` node."""
    token = _part.set((key, getattr(source, "__dict__", {})))
    try:
        yield
    finally:
        _part.reset(token)


def place_key(value: str) -> str:
    """The setting of the part being made that has ``value``, a hub id or a path: ``rewards.clip.source.repo``."""
    key, source = _part.get()
    return next((f"{key}.source.{name}" for name, own in source.items() if own == value), "repo")


def remember(repo: str, revision: str) -> None:
    """The part being made asks for ``repo`` at ``revision``."""
    key, source = _part.get()
    names = [name for name, value in source.items() if name.endswith("revision") and value == revision]
    own = [name for name in names if repo in (source.get(name[:-8] + "repo"), source.get(name[:-9]))]
    _revisions[repo, revision] = f"{key}.source.{(own or names or ['revision'])[0]}"


def revision_key(repo: str, revision: str) -> str:
    """The setting that last asked for ``repo`` at ``revision``: ``rewards.pickscore.source.tokenizer_revision``."""
    return _revisions.get((repo, revision), "PART.source.revision")
