"""Files that appear whole or not at all, and their sha256."""

import hashlib
import os
import secrets
from pathlib import Path


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
