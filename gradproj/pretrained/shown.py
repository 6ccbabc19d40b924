"""What is needed, a line each, as a person reads it: bytes, licence and access, and where it goes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants

from gradproj.pretrained.listing import cache
from gradproj.pretrained.outlook import Outlook, Repository
from gradproj.pretrained.settle import free_bytes

UNKNOWN = f"{'?':>8} {'?':>8}"


def lines(outlook: Outlook, folders: Sequence[Path]) -> Iterator[str]:
    """Gigabytes in all, still to come, what it is; then where all of it goes."""
    if not outlook.repositories and not outlook.addresses:
        yield "nothing is to be fetched: " + (", ".join(map(str, folders)) or "all of it is built in")
        return
    yield f"{'GB':>8} {'to come':>8}"
    for one in outlook.repositories:
        size = UNKNOWN if _unknown(one) else f"{one.size / 1e9:8.2f} {one.coming / 1e9:8.2f}"
        yield f"{size}  {one.request.repo} at {one.request.revision[:8]}: {_terms(one)}"
    for one in outlook.addresses:
        there = one.path.stat().st_size if one.here else one.coming
        size = UNKNOWN if one.refused or one.trouble else f"{there / 1e9:8.2f} {one.coming / 1e9:8.2f}"
        yield f"{size}  {one.url} -> {one.path.parent}"
    for folder in folders:
        yield f"{'':>8} {'':>8}  {folder}: a local folder, used as it is"
    total = sum(one.size for one in outlook.repositories) + sum(
        one.path.stat().st_size if one.here else one.coming for one in outlook.addresses
    )
    unknown = any(map(_unknown, outlook.repositories))
    size = UNKNOWN if unknown else f"{total / 1e9:8.2f} {outlook.coming / 1e9:8.2f}"
    yield f"{size}  in all -> {cache()} ({free_bytes(cache()) / 1e9:.2f} GB free)"


def _unknown(one: Repository) -> bool:
    return one.files is None or bool(one.trouble and one.missing)


def _terms(one: Repository) -> str:
    """Licence, and whether it is gated, as the hub says; what is wrong, where something is."""
    if one.refused or _unknown(one):
        return one.refused or "not listed here, and the hub cannot be asked"
    return one.terms or f"listed before; its terms are on {constants.ENDPOINT}/{one.request.repo}"
