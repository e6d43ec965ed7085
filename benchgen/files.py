"""Writing files so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from benchgen.errors import StoreError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside the target, fsync, rename.

    Raises:
        StoreError: If the disk is full or the place cannot be written; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # where its folder could not be made, say
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error.strerror}; make room or choose another place. "
            "What was finished is kept; the same command goes on from there."
        ) from error
