"""Many small files in one ``.tar.xz``: the same files give the same bytes, and damage is refused."""

import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path

from gradproj.errors import UserError


def bundle(files: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of (path inside, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def members(path: Path) -> list[tuple[str, bytes]]:
    """(stem, content) of every file in the archive; none where there is no archive, ``UserError`` for a damaged one."""
    if not path.exists():
        return []
    try:
        content = lzma.decompress(path.read_bytes())  # all of it first: checks xz's own checksum
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            files = [(m.name, archive.extractfile(m)) for m in archive.getmembers() if m.isfile()]  # no links
            if content[archive.offset :].strip(b"\0"):
                raise tarfile.ReadError("a damaged header inside")
            return [(Path(name).stem, file.read()) for name, file in files if file]
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error
