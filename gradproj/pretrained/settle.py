"""Whether all that a command needs can be had, before the first byte of it is fetched: access, network, the disk."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from gradproj.errors import UserError
from gradproj.files import existing
from gradproj.pretrained.hub_errors import PLACE, ROOM, explain
from gradproj.pretrained.listing import cache
from gradproj.pretrained.outlook import Outlook, Repository, patience

SHOWN = 3  # names in one message
TORCH_PLACE = "TORCH_HOME to a folder that is yours"


def settle(outlook: Outlook, command: str) -> None:
    """``UserError`` with what stands in the way, in a line or two: refusals, what is not here, a disk too small.

    ``command`` is what fetches all of it where there is a network. Where all is here the hub is not asked at all.
    """
    refusals = [one.refused for one in (*outlook.repositories, *outlook.addresses) if one.refused]
    refusals += filter(None, map(access, outlook.repositories))
    token = wrong_token() if refusals and get_token() else ""
    lines = [token] if token else list(dict.fromkeys(refusals))
    lines += _not_here(outlook, command)
    if lines or (lines := disk(outlook)):
        raise UserError("\n".join(lines))


def access(repository: Repository) -> str:
    """Why files of the repository that are still to come would be refused; empty where they would not.

    A mirror of the hub that cannot be asked this is believed.
    """
    repo, revision = repository.request.repo, repository.request.revision
    if repository.refused or repository.trouble or not repository.missing:
        return ""
    try:
        with patience() as hub:
            hub.auth_check(repo)
    except HfHubHTTPError as error:
        unknown = error.response.status_code not in (401, 403) and not error.response.headers.get("X-Error-Code")
        return "" if unknown else explain(error, repo, revision)
    except (HTTPError, OSError, ValueError) as error:
        return explain(error, repo, revision)
    return ""


def wrong_token() -> str:
    """What to do about a token that the hub does not know; empty where it knows it, or cannot be asked."""
    try:
        with patience() as hub:
            hub.whoami(cache=True)
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            return ""
        place = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "hf auth login"
        again = "export HF_TOKEN=hf_..." if place == "HF_TOKEN" else "hf auth login"
        page = "https://huggingface.co/settings/tokens"
        return f"{constants.ENDPOINT} does not know the token of {place}: make one on {page}, then type {again}"
    except (HTTPError, OSError, ValueError):
        return ""
    return ""


def _not_here(outlook: Outlook, command: str) -> list[str]:
    """Two lines: what is missing and why it cannot be fetched; what to type where it can."""
    there = [one for one in outlook.repositories if one.trouble and not one.refused and (one.missing or not one.files)]
    alone = [one for one in outlook.addresses if one.trouble]
    if not there and not alone:
        return []
    missing = [name for one in there for name in (one.missing or one.request.patterns)]
    coming = sum(one.coming for one in there)
    size = f"; {coming / 1e9:.2f} GB" if coming else ""
    what = ", ".join([*(one.request.repo for one in there), *(one.path.name for one in alone)])
    which = f" (missing: {shown(missing)}{size})" if missing else ""
    online = "HF_HUB_OFFLINE=0 " if constants.is_offline_mode() else ""
    return [
        f"not whole in {constants.HF_HUB_CACHE}: {what}{which}, and {(there or alone)[0].trouble}",
        f"where there is a network, with the same HF_HOME ({constants.HF_HOME}), type: {online}{command}",
    ]


def disk(outlook: Outlook) -> list[str]:
    """A line for each place where nothing can be written, and for each disk without room for what is to come."""
    places = [(cache(), one.coming, PLACE) for one in outlook.repositories if one.missing]
    places += [(one.path.parent, one.coming, TORCH_PLACE) for one in outlook.addresses if not one.here]
    lines = list(dict.fromkeys(filter(None, (_no_place(folder, advice) for folder, _, advice in places))))
    needs: dict[int, list[tuple[Path, int]]] = defaultdict(list)
    for folder, size, _ in places:
        needs[existing(folder).stat().st_dev].append((folder, size))
    for needed in needs.values():
        folder, total = needed[0][0], sum(size for _, size in needed)
        free = free_bytes(folder)
        if total > free:
            lines.append(
                f"{total / 1e9:.2f} GB are to come, and the disk of {folder} has {free / 1e9:.2f} GB free, "
                f"{total - free:,} bytes too few: {ROOM}"
            )
    return lines


def _no_place(folder: Path, advice: str) -> str:
    """Why nothing can be written to ``folder``; empty where it can."""
    there = existing(folder)
    if not there.is_dir():
        return f"{there} is a file, and {folder} is to be a folder: set {advice}"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to: set {advice}"


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that ``folder``, which may not be there yet, is on."""
    return shutil.disk_usage(existing(folder)).free


def shown(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
