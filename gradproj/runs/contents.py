"""What lies in a run's folder for records, loose in images/ or packed in an archive: sorted, or read in bulk.

Nothing that lies there is passed over: a record counts, is damaged or is a stranger's. Imports no torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.runs import archive, environment
from gradproj.runs.naming import ImageId
from gradproj.runs.owner import Owner
from gradproj.runs.record import unlabelled

PACKED = "records.tar.xz"
SHOWN = 20  # records named in one message


@dataclass(frozen=True)
class Scan:
    """What lies in a run's folder for records."""

    recorded: dict[ImageId, Mapping[str, str]] = field(default_factory=dict)  # image -> its pictures' hashes
    damaged: set[ImageId] = field(default_factory=set)  # the seal is wrong, or it is no file: to be made again
    strangers: list[str] = field(default_factory=list)  # another run's or image's record, a line each with what to do


def loose(folder: Path) -> dict[str, Path]:
    """Name -> file of the records in images/, in the order of their names; half-written files begin with a dot."""
    images = folder / "images"
    return {name: images / f"{name}.csv" for name in sorted(path.stem for path in images.glob("[!.]*.csv"))}


def content(path: Path) -> bytes | None:
    """What a record's file holds; nothing where it is a folder or a link to nothing; None where it is gone by now."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        return b""
    except FileNotFoundError:  # another worker may have moved a damaged one aside this moment
        return b"" if path.is_symlink() else None


def read(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """The name of every record in images/, what messages call it, and what it holds."""
    for name, path in loose(folder).items():
        if (held := content(path)) is not None:
            yield name, str(path), held


def scan(owner: Owner) -> Scan:
    """Look at every record, packed or not; 100,000 take seconds. ``UserError`` for a damaged archive."""
    found = Scan()
    for name, where, held in read(owner.folder):
        _sort(found, owner, name, where, held)
    for name, held in archive.members(owner.folder / PACKED):
        where = inside(owner.folder, name)
        if unlabelled(held) is None:
            raise UserError(f"{where} is cut or edited inside the archive; restore the archive")
        _sort(found, owner, name, where, held)
    return found


def refuse_strangers(folder: Path, strangers: list[str]) -> None:
    """``UserError`` that names the records which are another run's or image's, with what to do."""
    if strangers:
        more = [f"and {len(strangers) - SHOWN} more"] if len(strangers) > SHOWN else []
        raise UserError("\n".join([f"some records in {folder} are not its own:", *strangers[:SHOWN], *more]))


def records(owner: Owner) -> dict[ImageId, bytes]:
    """Image -> CSV of every record, in the order of their names.

    ``UserError`` names the first that is damaged or not this run's, or that stands twice with other content.
    """
    files = {name: (where, held) for name, where, held in read(owner.folder)}
    packed = dict(archive.members(owner.folder / PACKED))
    for name in files.keys() & packed.keys():
        if files[name][1] != packed[name]:  # equal twins are what a kill during pack or unpack leaves
            raise UserError(f"{owner.folder}: image {name} differs in images/ and in {PACKED}; remove one of the two")
    every = {name: (inside(owner.folder, name), content) for name, content in packed.items()} | files
    csvs = {name: checked(owner, name, *every[name])[1] for name in sorted(every)}
    return {ImageId.parse(name): csv for name, csv in csvs.items()}


def checked(owner: Owner, name: str, where: str, content: bytes) -> tuple[dict[str, Any], bytes]:
    """The label and CSV of the record called ``name``; ``UserError`` where its seal or its label is wrong."""
    opened = unlabelled(content)
    if opened is None:
        command = environment.command(owner.folder)
        raise UserError(f"{where} is cut or edited; give the same command again, which makes it anew: {command}")
    owner.refuse(_image(name), where, opened[0])
    return opened


def inside(folder: Path, name: str) -> str:
    """What messages call a packed record."""
    return f"{folder / PACKED}: images/{name}.csv"


def _sort(found: Scan, owner: Owner, name: str, where: str, content: bytes) -> None:
    """Put one record where it belongs."""
    image, opened = _image(name), unlabelled(content)
    label = {} if opened is None else opened[0]
    if opened is None and image:
        found.damaged.add(image)
    elif why := owner.stranger(image, label):
        found.strangers.append(f"{where} {why}")
    elif image:
        found.recorded[image] = label.get("pictures", {})


def _image(name: str) -> ImageId | None:
    """The image that a record's file is called after, None where it is called otherwise."""
    try:
        return ImageId.parse(name)
    except ValueError:
        return None
