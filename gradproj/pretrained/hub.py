"""A model repository's files from the Hugging Face hub: found, fetched, checked, or the reason why not in plain words.

The only place that talks to the hub. ``huggingface_hub`` fetches, and keeps whole files only in its cache. Added here:
a timeout, what is missing is known before it is fetched, the disk has room for it, what came has the right sha256.
"""

import json
import logging
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HTTPError  # httpx's own

from gradproj.errors import NotHere, UserError
from gradproj.files import existing, place, sha256
from gradproj.pretrained import asking, survey
from gradproj.pretrained.hub_errors import ROOM, explain
from gradproj.pretrained.listing import File, Files, is_whole, listed_before, listing, match, named
from gradproj.pretrained.listing import storage as storage_of

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_SHA256 = re.compile("[0-9a-f]{64}")
_NO_PINS: Mapping[str, str | None] = MappingProxyType({})


def snapshot(
    repo: str,
    revision: str,
    patterns: Sequence[str],
    later: Sequence[str] = (),
    pins: Mapping[str, str | None] = _NO_PINS,
) -> tuple[Path, str]:
    """The folder with the files of ``repo`` that match ``patterns`` (fnmatch, ``*`` crosses ``/``), and their commit.

    Fetches what is missing. A full commit whose files are all here needs no request, a branch or a tag needs one.
    A pattern without wildcards must be there, the others may match nothing unless all do. Without network, or with
    HF_HUB_OFFLINE=1, the cache will do if it is whole, and has what matches ``later`` too: those files are for a second
    call, and what cannot be fetched then is told now. Whatever goes wrong is a ``UserError``; files that are missing
    and cannot be fetched are a ``NotHere``. ``pins``, name -> sha256, are for a ``survey`` alone.
    """
    if not _REPOSITORY.fullmatch(repo):
        raise UserError(f"{asking.place_key(repo)}={repo}: expected owner/name or an existing folder")
    asking.remember(repo, revision)
    survey.note_repository(repo, revision, [*patterns, *later], pins)
    try:
        storage, found = storage_of(repo), listing(repo, revision)
        commit, listed, trouble = found.commit, found.files, found.trouble
        folder = storage / "snapshots" / commit
        exact = {name: File() for name in named([*patterns, *later])}
        present = {path.relative_to(folder).as_posix(): File() for path in folder.rglob("*") if path.is_file()}
        files = listed if listed is not None else exact | present
        wanted, missing = match(files, patterns, folder)
        missing_later = match(files, later, folder)[1]
        absent = [name for name in exact if name not in files] or ([] if wanted else list(patterns))
        if absent and listed is not None:
            raise UserError(
                f"{repo} has no {', '.join(absent)} at {revision}: look at {constants.ENDPOINT}/{repo}/tree/{commit}, "
                "then give another repository or revision"
            )
        if trouble and (names := absent or [*missing, *missing_later]):
            raise _not_here(repo, revision, storage, names, trouble, [*patterns, *later])
        if trouble and not constants.is_offline_mode():
            logging.getLogger(__name__).warning("%s: %s at %s is read from the cache", trouble, repo, commit)
        if patterns:
            _fetch(repo, commit, patterns, folder, missing, list_it=not trouble)
        reference = storage / "refs" / revision  # for the day without network; only now that all of it is here
        if commit != revision and not (reference.is_file() and reference.read_text() == commit):
            reference.parent.mkdir(parents=True, exist_ok=True)
            place(reference, commit.encode())
    except (HTTPError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: hf_xet's, it fetches large files
        raise UserError(explain(error, repo, revision)) from error
    return folder, commit


def _not_here(
    repo: str, revision: str, storage: Path, names: Sequence[str], trouble: str, patterns: Sequence[str]
) -> NotHere:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    reason = f"{repo} at {revision} is not whole in {storage} (missing: {', '.join(names[:5])}{more}), and {trouble}."
    include = [word for pattern in dict.fromkeys(patterns) for word in ("--include", pattern)]
    return NotHere([reason], [shlex.join(["hf", "download", repo, "--revision", revision, *include])])


def _fetch(repo: str, commit: str, patterns: Sequence[str], folder: Path, missing: Files, list_it: bool) -> None:
    """Fetch ``missing``, then check it; a note in the cache sees to it that no kill in between skips the check."""
    storage = folder.parents[1]
    note = storage / f"unchecked-{commit}.json"
    unchecked = set(json.loads(note.read_text())) if note.is_file() else set()
    # one file at a time: an interruption costs the bytes of one, as no part of a file is kept; and threads that try
    # again close each other's connections
    fetch = partial(snapshot_download, repo, revision=commit, allow_patterns=list(patterns), max_workers=1)
    if missing:
        for name, file in missing.items():
            if not is_whole(folder / name, file):  # asked again: another process may have fetched it meanwhile
                discard(folder / name)  # if it is there it is cut, which huggingface_hub would not notice
        coming = [file for file in fetch(dry_run=True) if file.will_download]  # not what another commit has too
        needed = sum(file.file_size or 0 for file in coming)
        free = shutil.disk_usage(existing(storage)).free
        if needed > free:
            raise UserError(
                f"{repo}: {needed / 1e9:.2f} GB are still to come, {constants.HF_HUB_CACHE} has {free / 1e9:.2f} GB "
                f"free: {ROOM}"
            )
        unchecked |= {file.filename for file in coming}
        storage.mkdir(parents=True, exist_ok=True)
        place(note, json.dumps(sorted(unchecked)).encode())
    if missing or (list_it and listed_before(repo, commit) is None):  # it keeps the list of files: see _listing
        fetch()
        if absent := [name for name, file in missing.items() if not is_whole(folder / name, file)]:
            raise UserError(f"{repo}: {', '.join(absent)} did not come: remove {storage}, then type the same command")
    if unchecked:  # though another process, which had all of it by then, may have removed the note
        damaged = list(_damaged(folder, sorted(unchecked)))
        note.unlink(missing_ok=True)
        if damaged:
            raise UserError(f"{repo}: {'; '.join(damaged)}. Removed: type the same command to fetch it again")


def _damaged(folder: Path, names: Iterable[str]) -> Iterable[str]:
    """Remove the files whose sha256 is not the one that the cache names them by, and say which."""
    for path in (folder / name for name in names):
        expected = path.readlink().name if path.is_symlink() else ""  # small files have git's hash: not checked
        if _SHA256.fullmatch(expected) and path.is_file() and (found := sha256(path)) != expected:
            discard(path)
            yield f"{path.relative_to(folder)} should have sha256 {expected}, what came has {found}"


def discard(path: Path) -> None:
    """Remove a file from the cache, with the content that its link leads to."""
    blob = path.parent / path.readlink() if path.is_symlink() else path
    for link in (path.resolve(), blob, path):  # a blob may be a link too, to one that repositories share
        link.unlink(missing_ok=True)
