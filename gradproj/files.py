"""Files that appear whole or not at all, and their sha256, which may also stand in a file's own last line as a seal."""

import hashlib
import os
import secrets
from pathlib import Path

_MARK = b"# sha256 "


def place(path: Path, content: bytes) -> None:
    """Write the file ``path`` so that it appears whole or not at all, even if the machine stops meanwhile.

    The content is written and flushed beside ``path`` and then renamed. A failure, such as a full disk or a signal,
    leaves nothing behind.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")  # unique: others may write the same file
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:  # KeyboardInterrupt and SystemExit, too
        partial.unlink(missing_ok=True)
        raise


def existing(folder: Path) -> Path:
    """``folder``, or the nearest of its parents that is there; a file where one stands in its way."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def sha256(path: Path) -> str:
    """The file's sha256, 64 hex digits; reads it once, about 1 GB a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(text: bytes) -> bytes:
    """``text`` with its seal, a last line ``# sha256 <hex>`` over everything above it."""
    return text + _MARK + hashlib.sha256(text).hexdigest().encode() + b"\n"


def unsealed(content: bytes) -> bytes | None:
    """``content`` without its seal; None where the seal is missing or does not fit the text."""
    text, mark, _ = content.rpartition(_MARK)
    return text if mark and content == sealed(text) else None


def is_sealed(path: Path) -> bool:
    """Whether a file is there and whole, that is, its last line is a seal that fits the text above it."""
    try:
        return unsealed(path.read_bytes()) is not None
    except OSError:
        return False
