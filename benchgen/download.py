"""One download: resumed where it broke off, checked against its hash, in place whole or not at all.

The bytes gather in a hidden part file beside the target. Its name carries the expected hash, so
that a later try goes on with it, and it is locked, so that two processes do not write to it at
once: the second one waits and finds the file done.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from io import BufferedRandom
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Algorithm = Literal["sha256", "md5"]

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
# How often a connection may break while bytes still come; without any new byte, once is enough.
_BREAKS = 5
# Publishers put as few as 8 hex digits of a hash into a file's name.
_SHORTEST_PREFIX = 8


class DownloadError(Exception):
    """The file could not be fetched; the message is the reason alone."""


def download(url: str, target: Path, algorithm: Algorithm, digest: str) -> None:
    """Fetch a URL to a file, with a progress bar on stderr.

    What an earlier try left of this very content is kept and the rest asked for (HTTP Range); a
    server that does not know how starts again. While another process fetches the same content,
    this one waits for it.

    Args:
        url: Where from.
        target: Where to; its folder is made, and a file of that name is replaced.
        algorithm: How ``digest`` was computed.
        digest: Hash of the content in hex, or its first digits (8 or more) where no more of it
            is published.

    Raises:
        DownloadError: no connection, an HTTP error, a full disk, or another hash. The target is
            as it was; of a broken connection the part file stays, of a wrong hash nothing.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part, file = _claim(target.with_name(f".{target.name}.{digest[:16].lower()}.part"))
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be written: {error}") from error
    with file:
        try:
            if not has_digest(target, algorithm, digest):
                _complete(url, file, algorithm, digest, target.name)
                _put(part, file, target)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            size = _resumable(part)
            kept = f" ({size:,} bytes are kept; the next try goes on from there)" if size else ""
            raise DownloadError(f"{url} could not be fetched: {reason}{kept}") from error
        finally:
            if _is_at(file, part) and not _worth_keeping(part, target, algorithm, digest):
                _remove(part, file)


def file_digest(path: Path, algorithm: Algorithm) -> str:
    """Hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def has_digest(path: Path, algorithm: Algorithm, digest: str) -> bool:
    """Whether a file is there and its hash begins with these hex digits."""
    return path.is_file() and begins_with(file_digest(path, algorithm), digest)


def begins_with(found: str, digest: str) -> bool:
    """Whether a hash in hex begins with these digits, in either case.

    Raises:
        ValueError: If there are too few of them to tell contents apart.
    """
    if len(digest) < _SHORTEST_PREFIX:
        raise ValueError(f"{digest!r} is too short for a hash")
    return found.startswith(digest.lower())


def _claim(part: Path) -> tuple[Path, BufferedRandom]:
    """The part file, opened to append and read, and locked until it is closed."""
    while True:
        file = part.open("a+b")
        try:
            _lock(file, part)
        except OSError:
            # Nothing here can lock: a name of its own instead, of which nothing is resumed.
            file.close()
            if not part.stat().st_size:
                part.unlink()
            own = part.with_name(f"{part.name}.{os.getpid()}")
            return own, own.open("w+b")
        # Who held the lock may have moved the file away as finished, or removed it.
        if _is_at(file, part):
            return part, file
        file.close()


def _lock(file: BufferedRandom, part: Path) -> None:
    """Lock a file for this process, waiting for another one if need be.

    Raises:
        OSError: If the platform or the file system has no locks.
    """
    if fcntl is None:
        raise OSError("no locks on this platform")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        Console(stderr=True).print(f"waiting for another process that fetches {part.name}")
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_at(file: BufferedRandom, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, ValueError):  # ValueError: closed
        return False


def _complete(
    url: str, file: BufferedRandom, algorithm: Algorithm, digest: str, title: str
) -> None:
    """Bring the part file to the expected content, or empty it and raise."""
    resumed = file.seek(0, os.SEEK_END) > 0
    while True:
        _fetch_rest(url, file, title)
        file.seek(0)
        found = hashlib.file_digest(file, algorithm).hexdigest()
        if begins_with(found, digest):
            return
        size = file.tell()
        file.truncate(0)
        if not resumed:
            raise DownloadError(
                f"{url} gave {size:,} bytes with {algorithm} {found}; expected {digest}"
            )
        resumed = False  # the old part may be to blame: once more from the start


def _fetch_rest(url: str, file: BufferedRandom, title: str) -> None:
    """Append what the part file lacks, over several connections if they break."""
    for attempt in range(_BREAKS):
        start = file.seek(0, os.SEEK_END)
        try:
            return _append(url, file, start, title)
        except (http.client.HTTPException, OSError):
            file.flush()
            if file.seek(0, os.SEEK_END) <= start or attempt == _BREAKS - 1:
                raise


def _append(url: str, file: BufferedRandom, start: int, title: str) -> None:
    """Append the URL's bytes from ``start`` on; from its first byte if the server insists."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # there is nothing after what we have
            return
        raise
    with response, _progress() as progress:
        range_given = response.headers.get("Content-Range", "")
        if response.status != 206:
            start = 0
            file.truncate(0)
        elif not range_given.startswith(f"bytes {start}-"):
            file.truncate(0)
            raise OSError(f"asked for bytes from {start} on, the server sent {range_given!r}")
        announced = response.headers.get("Content-Length")
        total = start + int(announced) if announced else None
        task = progress.add_task(title, total=total, completed=start)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            start += len(chunk)
            progress.update(task, completed=start)
        if total is not None and start < total:
            raise OSError(f"the connection closed after {start:,} of {total:,} bytes")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _worth_keeping(part: Path, target: Path, algorithm: Algorithm, digest: str) -> bool:
    """Whether a later try would find this part by its name and want it."""
    return _resumable(part) > 0 and not has_digest(target, algorithm, digest)


def _resumable(part: Path) -> int:
    """How many bytes of a part a later try would find by its name."""
    return part.stat().st_size if part.suffix == ".part" and part.exists() else 0


def _remove(part: Path, file: BufferedRandom) -> None:
    """Remove a part while it is locked, so that nobody goes on with it meanwhile."""
    if fcntl is None:
        file.close()  # Windows removes no open file
    part.unlink()


def _put(part: Path, file: BufferedRandom, target: Path) -> None:
    """Give the finished part its name; while it is locked, so that nobody takes it for theirs."""
    file.flush()
    os.fsync(file.fileno())
    part.chmod(0o644)  # others may read a shared cache, whatever the umask
    if fcntl is None:
        file.close()  # Windows renames no open file
    os.replace(part, target)
