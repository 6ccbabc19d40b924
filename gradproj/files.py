"""Files that appear whole or not at all, and their sha256: of a file, or sealed into its own last line."""

import hashlib
import os
import secrets
from pathlib import Path

_MARK = b"# sha256 "


def place(path: Path, content: bytes) -> None:
    """Write beside the place, flush to disk, rename into it; on failure (full disk, signal) leave nothing behind."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")  # alone, whatever machine writes beside us
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:  # a signal's, too
        partial.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """The file's sha256, 64 hex digits; reads it once, about 1 GB a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(text: bytes) -> bytes:
    """``text`` and one more line over all of it, ``# sha256 <hex>``."""
    return text + _MARK + hashlib.sha256(text).hexdigest().encode() + b"\n"


def unsealed(content: bytes) -> bytes | None:
    """The text below its seal; None where the seal is missing or of another text."""
    text, mark, _ = content.rpartition(_MARK)
    return text if mark and content == sealed(text) else None


def is_sealed(path: Path) -> bool:
    """Whether a file is whole: its last line is the sha256 of what stands above it. Reads all of it."""
    try:
        return unsealed(path.read_bytes()) is not None
    except OSError:
        return False
