"""One download: streamed, checked against its hash on the way, in place whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


class DownloadError(Exception):
    """The file could not be fetched; the message is the reason alone."""


def download(url: str, target: Path, algorithm: Literal["sha256", "md5"], digest: str) -> None:
    """Fetch a URL to a file, with a progress bar on stderr.

    The bytes go to a hidden temporary file beside the target, which takes the target's name only
    once they are complete and have the right hash.

    Args:
        url: Where from.
        target: Where to; its folder is made, and a file of that name is replaced.
        algorithm: How ``digest`` (hex) was computed.

    Raises:
        DownloadError: no connection, an HTTP error, a full disk, or another hash. Nothing is
            left behind.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
    except OSError as error:
        raise DownloadError(f"{target.parent} cannot be written: {error}") from error
    try:
        with os.fdopen(number, "wb") as part:
            found = _stream(url, part, algorithm, target.name)
            if found != digest.lower():
                raise DownloadError(
                    f"{url} gave {part.tell():,} bytes with {algorithm} {found}; expected {digest}"
                )
            part.flush()
            os.fsync(part.fileno())
        Path(name).chmod(0o644)  # temporary files are private, but a cache may be shared
        os.replace(name, target)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{url} could not be fetched: {reason}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def file_digest(path: Path, algorithm: Literal["sha256", "md5"]) -> str:
    """Hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _stream(url: str, out: IO[bytes], algorithm: str, title: str) -> str:
    """Copy the URL's bytes to a file and return their hash, in hex."""
    running = hashlib.new(algorithm)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response,
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
    ):
        announced = response.headers.get("Content-Length")
        task: TaskID = progress.add_task(title, total=int(announced) if announced else None)
        while chunk := response.read(_CHUNK):
            out.write(chunk)
            running.update(chunk)
            progress.advance(task, len(chunk))
    return running.hexdigest()
