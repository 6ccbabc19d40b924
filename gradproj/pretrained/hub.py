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

from huggingface_hub import HfApi, constants, errors, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # the latter is httpx's own
from huggingface_hub.utils import filter_repo_objects

from gradproj.errors import NotHere, UserError
from gradproj.files import place, sha256
from gradproj.pretrained.hub_errors import ROOM, explain, line

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
_Files = Mapping[str, int | None]  # name -> bytes, None if unknown


def snapshot(repo: str, revision: str, patterns: Sequence[str], later: Sequence[str] = ()) -> tuple[Path, str]:
    """The folder with the files of ``repo`` that match ``patterns`` (fnmatch, ``*`` crosses ``/``), and their commit.

    Fetches what is missing. A full commit whose files are all here needs no request, a branch or a tag needs one.
    A pattern without wildcards must be there, the others may match nothing unless all do. Without network, or with
    HF_HUB_OFFLINE=1, the cache will do if it is whole, and has what matches ``later`` too: those files are for a second
    call, and what cannot be fetched then is told now. Whatever goes wrong is a ``UserError``; files that are missing
    and cannot be fetched are a ``NotHere``.
    """
    if not _REPOSITORY.fullmatch(repo):
        raise UserError(f"repo={repo}: expected owner/name or an existing folder")
    try:
        storage = Path(constants.HF_HUB_CACHE).expanduser().absolute() / f"models--{repo.replace('/', '--')}"
        commit, listed, trouble = _listing(repo, revision, storage)
        folder = storage / "snapshots" / commit
        exact = {pattern: None for pattern in (*patterns, *later) if not set(pattern) & set("*?[")}
        present = {path.relative_to(folder).as_posix(): None for path in folder.rglob("*") if path.is_file()}
        files = listed if listed is not None else exact | present
        wanted, missing = _match(files, patterns, folder)
        missing_later = _match(files, later, folder)[1]
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


def _match(files: _Files, patterns: Sequence[str], folder: Path) -> tuple[_Files, _Files]:
    """Those of ``files`` that match one of ``patterns``, and those of them that are not whole in ``folder``."""
    wanted = (
        {name: files[name] for name in filter_repo_objects(files, allow_patterns=list(patterns))} if patterns else {}
    )
    return wanted, {name: size for name, size in wanted.items() if not _is_whole(folder / name, size)}


def _not_here(
    repo: str, revision: str, storage: Path, names: Sequence[str], trouble: str, patterns: Sequence[str]
) -> NotHere:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    reason = f"{repo} at {revision} is not whole in {storage} (missing: {', '.join(names[:5])}{more}), and {trouble}."
    include = [word for pattern in dict.fromkeys(patterns) for word in ("--include", pattern)]
    return NotHere([reason], [shlex.join(["hf", "download", repo, "--revision", revision, *include])])


def _listing(repo: str, revision: str, storage: Path) -> tuple[str, _Files | None, str]:
    """Commit; all its files, None if nobody knows; why the hub cannot be asked, empty if it can."""
    offline = "HF_HUB_OFFLINE=1 forbids to ask the hub" if constants.is_offline_mode() else ""
    pinned = _COMMIT.fullmatch(revision)
    if pinned and (listed := _listed_before(repo, revision)) is not None:
        return revision, listed, offline
    try:  # the hub's API is asked without a timeout if none is given
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        answer = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
        if not isinstance(answer.sha, str) or answer.siblings is None:
            raise ValueError("an answer without commit or files")
        return answer.sha, {file.rfilename: file.lfs.size if file.lfs else file.size for file in answer.siblings}, ""
    except (HTTPError, OSError, ValueError, KeyError, TypeError) as error:  # the last three: not the hub that answers
        reference = storage / "refs" / revision
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused:
            raise UserError(explain(error, repo, revision)) from error
        commit = reference.read_text().strip() if not pinned and reference.is_file() else revision
        trouble = offline or f"{constants.ENDPOINT} cannot be reached ({line(error)})"
        return commit, _listed_before(repo, commit), trouble


def _listed_before(repo: str, commit: str) -> _Files | None:
    try:
        return {file.path: file.size for file in get_cached_repo_tree(repo, revision=commit)}
    except errors.CachedRepoTreeNotFoundError:
        return None


def _is_whole(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)


def _fetch(repo: str, commit: str, patterns: Sequence[str], folder: Path, missing: _Files, list_it: bool) -> None:
    """Fetch ``missing``, then check it; a note in the cache sees to it that no kill in between skips the check."""
    storage = folder.parents[1]
    note = storage / f"unchecked-{commit}.json"
    unchecked = set(json.loads(note.read_text())) if note.is_file() else set()
    # one file at a time: an interruption costs the bytes of one, as no part of a file is kept; and threads that try
    # again close each other's connections
    fetch = partial(snapshot_download, repo, revision=commit, allow_patterns=list(patterns), max_workers=1)
    if missing:
        for name, size in missing.items():
            if not _is_whole(folder / name, size):  # asked again: another process may have fetched it meanwhile
                _discard(folder / name)  # if it is there it is cut, which huggingface_hub would not notice
        coming = [file for file in fetch(dry_run=True) if file.will_download]  # not what another commit has too
        needed = sum(file.file_size or 0 for file in coming)
        free = shutil.disk_usage(next(path for path in storage.parents if path.exists())).free
        if needed > free:
            raise UserError(
                f"{repo}: {needed / 1e9:.2f} GB are still to come, {constants.HF_HUB_CACHE} has {free / 1e9:.2f} GB "
                f"free: {ROOM}"
            )
        unchecked |= {file.filename for file in coming}
        storage.mkdir(parents=True, exist_ok=True)
        place(note, json.dumps(sorted(unchecked)).encode())
    if missing or (list_it and _listed_before(repo, commit) is None):  # it keeps the list of files: see _listing
        fetch()
        if absent := [name for name, size in missing.items() if not _is_whole(folder / name, size)]:
            raise UserError(f"{repo}: {', '.join(absent)} did not come: remove {storage}, then type the same command")
    if note.is_file():
        damaged = list(_damaged(folder, sorted(unchecked)))
        note.unlink(missing_ok=True)
        if damaged:
            raise UserError(f"{repo}: {'; '.join(damaged)}. Removed: type the same command to fetch it again")


def _damaged(folder: Path, names: Iterable[str]) -> Iterable[str]:
    """Remove the files whose sha256 is not the one that the cache names them by, and say which."""
    for path in (folder / name for name in names):
        expected = path.readlink().name if path.is_symlink() else ""  # small files have git's hash: not checked
        if _SHA256.fullmatch(expected) and path.is_file() and (found := sha256(path)) != expected:
            _discard(path)
            yield f"{path.relative_to(folder)} should have sha256 {expected}, what came has {found}"


def _discard(path: Path) -> None:
    blob = path.parent / path.readlink() if path.is_symlink() else path
    for link in (path.resolve(), blob, path):  # a blob may be a link too, to one that repositories share
        link.unlink(missing_ok=True)
