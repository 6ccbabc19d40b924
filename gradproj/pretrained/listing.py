"""What a repository of the hub has at a revision: asked of the hub, or remembered in its cache from an earlier time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, constants, errors, get_cached_repo_tree
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # the latter is httpx's own
from huggingface_hub.utils import filter_repo_objects

from gradproj.errors import UserError
from gradproj.files import existing
from gradproj.pretrained.hub_errors import PLACE, explain, line

OFFLINE = "HF_HUB_OFFLINE=1 forbids to ask the hub"
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class File:
    """A file's bytes, and its sha256 if it is large or else git's hash, which name it in the cache; None: not known."""

    size: int | None = None
    sha256: str | None = None
    git: str | None = None


Files = Mapping[str, File]


@dataclass(frozen=True)
class Listing:
    """``files``: all of the repository, None if nobody knows. ``trouble``: why the hub cannot be asked, if so.

    ``terms``: its licence and whether it is gated; empty where the hub was not asked.
    """

    commit: str
    files: Files | None
    trouble: str
    terms: str = ""


def cache() -> Path:
    """The folder of the hub's cache; ``UserError`` where a file is in its place."""
    folder = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    if not (there := existing(folder)).is_dir():
        raise UserError(f"{there} is a file, and the hub's cache is to be the folder {folder}: set {PLACE}")
    return folder


def storage(repo: str) -> Path:
    """The folder of a repository in the hub's cache."""
    return cache() / f"models--{repo.replace('/', '--')}"


def listing(repo: str, revision: str, unreachable: str = "") -> Listing:
    """What ``repo`` has at ``revision``; a full commit that was listed before needs no request.

    ``unreachable``: why the hub could not be asked a moment ago: then it is not asked again. ``UserError`` where the
    hub answers and refuses.
    """
    offline = OFFLINE if constants.is_offline_mode() else ""
    pinned = COMMIT.fullmatch(revision)
    if pinned and (known := listed_before(repo, revision)) is not None:
        return Listing(revision, known, offline)
    if unreachable:
        return _remembered(repo, revision, unreachable)
    try:  # the hub's API is asked without a timeout if none is given
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        answer = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
        if not isinstance(answer.sha, str) or answer.siblings is None:
            raise ValueError("an answer without commit or files")
        files = {
            file.rfilename: File(file.lfs.size, file.lfs.sha256) if file.lfs else File(file.size, None, file.blob_id)
            for file in answer.siblings
        }
        return Listing(answer.sha, files, "", _terms(answer))
    except (HTTPError, OSError, ValueError, KeyError, TypeError) as error:  # the last three: not the hub that answers
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if refused:
            raise UserError(explain(error, repo, revision)) from error
        return _remembered(repo, revision, offline or f"{constants.ENDPOINT} cannot be reached ({line(error)})")


def _remembered(repo: str, revision: str, trouble: str) -> Listing:
    """What the cache knows, where the hub cannot be asked; a branch's commit is the one that it had the last time."""
    reference = storage(repo) / "refs" / revision
    known = not COMMIT.fullmatch(revision) and reference.is_file()
    commit = reference.read_text().strip() if known else revision
    return Listing(commit, listed_before(repo, commit), trouble)


def _terms(answer: ModelInfo) -> str:
    """Licence and gate, as the repository's card and the hub say."""
    licence = getattr(answer.card_data, "license", None) or "see its page"
    page = f"{constants.ENDPOINT}/{answer.id}"
    return f"licence {licence}" + (f"; gated: its terms must be accepted on {page}" if answer.gated else "")


def listed_before(repo: str, commit: str) -> Files | None:
    """The files of ``commit`` as the cache remembers them, without their hashes; None where it does not."""
    try:
        tree = get_cached_repo_tree(repo, revision=commit)
    except errors.CachedRepoTreeNotFoundError:
        return None
    return {file.path: File(file.size) for file in tree}


def match(files: Files, patterns: Sequence[str], folder: Path) -> tuple[Files, Files]:
    """Those of ``files`` that match one of ``patterns``, and those of them that are not whole in ``folder``."""
    wanted = (
        {name: files[name] for name in filter_repo_objects(files, allow_patterns=list(patterns))} if patterns else {}
    )
    return wanted, {name: file for name, file in wanted.items() if not is_whole(folder / name, file)}


def is_whole(path: Path, file: File) -> bool:
    """Whether the file is there, with all of its bytes."""
    return path.is_file() and file.size in (None, path.stat().st_size)


def named(patterns: Sequence[str]) -> list[str]:
    """The patterns without wildcards: files that must be there."""
    return [pattern for pattern in dict.fromkeys(patterns) if not set(pattern) & set("*?[")]
