"""Content hashes that are remembered, so that an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchgen.errors import StoreError
from benchgen.files import write_atomically
from benchgen.paths import cache_dir

Stamp = tuple[int, int, int, int]
"""Size in bytes, modification and change time in nanoseconds, and inode number."""

# A file may change once more within the resolution of its times, and its stamp would not tell.
_RACY_NS = 2_000_000_000


class HashMemory:
    """The hashes of the files of one place, kept as one file in the cache.

    A file that cannot be read back is as good as none; one that cannot be written costs the next
    run its time and nothing else. Of two processes that write at once, the last one counts.

    Args:
        place: What the files are found under: an absolute path.
    """

    def __init__(self, place: str) -> None:
        name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
        self._path = cache_dir() / "hashes" / f"{name}.json"
        self._place = place
        self._before = _read(self._path)
        self._now: dict[str, list[Any]] = {}

    def recall(self, name: str, stamp: Stamp | None) -> str | None:
        """The hash of a file whose stamp is still the same, or None."""
        known = self._before.get(name)
        if stamp is None or not isinstance(known, list) or known[:-1] != list(stamp):
            return None
        self._now[name] = known
        return str(known[-1])

    def remember(self, name: str, stamp: Stamp, found: str) -> None:
        """Keep a hash, unless the file was written so lately that it may change unnoticed."""
        if time.time_ns() - stamp[1] >= _RACY_NS:
            self._now[name] = [*stamp, found]

    def save(self) -> None:
        """Write what was recalled and remembered; the rest is forgotten."""
        if self._now == self._before:
            return
        content = json.dumps({"place": self._place, "files": self._now})
        with suppress(StoreError):
            write_atomically(self._path, content)


def stamp_of(path: str | Path) -> Stamp:
    """The stamp of a file; links are followed.

    Raises:
        OSError: It is gone, or may not be looked at.
    """
    found = os.stat(path)  # noqa: PTH116  # many files: a Path each would take longer
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(path: Path) -> dict[str, Any]:
    try:
        files = json.loads(path.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}
