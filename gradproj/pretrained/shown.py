"""What is needed, a line each, as a person reads it: bytes, licence and access, and where it goes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants

from gradproj.pretrained.outlook import Outlook, Repository
from gradproj.pretrained.settle import free_bytes


def lines(outlook: Outlook, folders: Sequence[Path]) -> Iterator[str]:
    """Gigabytes in all, still to come, what it is; then where all of it goes."""
    if not outlook.repositories and not outlook.addresses:
        yield "nothing is to be fetched: " + (", ".join(map(str, folders)) or "all of it is built in")
        return
    yield f"{'GB':>8} {'to come':>8}"
    for one in outlook.repositories:
        unknown = one.files is None or bool(one.trouble and one.missing)
        size = f"{'?':>8} {'?':>8}" if unknown else f"{one.size / 1e9:8.2f} {one.coming / 1e9:8.2f}"
        yield f"{size}  {one.request.repo} at {one.request.revision[:8]}: {_terms(one)}"
    for one in outlook.addresses:
        size = one.path.stat().st_size if one.here else one.coming
        yield f"{size / 1e9:8.2f} {one.coming / 1e9:8.2f}  {one.url} -> {one.path.parent}"
    for folder in folders:
        yield f"{'':>8} {'':>8}  {folder}: a local folder, used as it is"
    cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    total = sum(one.size for one in outlook.repositories) + sum(
        one.path.stat().st_size if one.here else one.coming for one in outlook.addresses
    )
    yield f"{total / 1e9:8.2f} {outlook.coming / 1e9:8.2f}  in all -> {cache} ({free_bytes(cache) / 1e9:.2f} GB free)"


def _terms(one: Repository) -> str:
    """Licence, and whether it is gated, as the hub says; what is wrong, where something is."""
    if one.refused or one.trouble:
        return one.refused or one.trouble
    return one.terms or f"listed before; its terms are on {constants.ENDPOINT}/{one.request.repo}"
