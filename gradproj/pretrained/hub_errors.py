"""What went wrong with the hub, in plain words: what was expected, what came, what to type next."""

import errno

from huggingface_hub import constants, errors, get_token
from huggingface_hub.errors import HfHubHTTPError

from gradproj.pretrained.asking import revision_key

KEPT = "whole files are kept: the same command fetches the rest"
GATED = '"Read access to contents of all public gated repos you can access"'
PLACE = "HF_HOME to a folder that is yours (HF_HUB_CACHE, if set, goes before it)"
ROOM = "make room, or set HF_HOME to a folder on a larger disk (HF_HUB_CACHE, if set, goes before it)"


def explain(error: Exception, repo: str, revision: str) -> str:
    """What was expected, what came, what to type next."""
    if isinstance(error, errors.LocalEntryNotFoundError | errors.DryRunError) and isinstance(
        error.__cause__, Exception
    ):
        error = error.__cause__
    who = "the login in use (HF_TOKEN or hf auth login)" if get_token() else "nobody (no HF_TOKEN, no hf auth login)"
    login = "`hf auth login`, or set HF_TOKEN"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, HfHubHTTPError) and "fine-grained" in str(error):  # the hub's own words, in X-Error-Message
        page = f"https://huggingface.co/settings/tokens, or make a token of the kind Read there: {login}"
        return f"{repo}: the token in use is fine-grained and lacks a permission: tick {GATED} on {page}"
    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{repo}"
        return f"{repo} is gated, asked by {who}: accept its terms on {page}, then log in by the same account: {login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision}: type one that it has: {revision_key(repo, revision)}=main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no repository {repo}, or it is private, asked by {who}: check the name; if it is private: {login}"
    if isinstance(error, HfHubHTTPError) and (status := error.response.status_code) in (401, 403):
        page = "https://huggingface.co/settings/tokens"
        return f"{repo} is refused ({status}) to {who}: make a token that may read it on {page}, then {login}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo} at {revision} is not in the cache, and HF_HUB_OFFLINE=1 forbids to ask: set HF_HUB_OFFLINE=0"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{repo}: the disk of {constants.HF_HUB_CACHE} is full ({line(error)}): {ROOM}; {KEPT}"
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{repo}: cannot write to the cache ({line(error)}): set {PLACE}"
    return (
        f"{repo} could not be fetched from {constants.ENDPOINT} ({line(error)}): "
        f"see that it can be reached (network, proxy, HF_ENDPOINT), or wait; {KEPT}"
    )


def line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
