"""Encoded image files as a source, wherever they lie: in a folder, an archive or a table."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Protocol

from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.batches import Loaded, batched
from benchgen.images.decode import VERSION, Decoded, DecodeError, decode, parse_background
from benchgen.images.hashes import HashMemory, Stamp
from benchgen.images.labelling import Columns, Labelling, printable
from benchgen.images.source import Excluded, ImageBatch, checked_indices
from benchgen.images.table import read_table

SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp",
)  # fmt: skip

# A decoded image of the most pixels accepted, with 16 bits a channel, still fits.
MAX_BYTES = 2**29

_THREADS = min(8, os.cpu_count() or 1)
_AHEAD_BYTES = 2**28
# How many images, out of order, are fetched in the order of their files at once.
_WINDOW = 256


class FetchError(Exception):
    """The bytes of one file cannot be had; the message is the reason alone."""


class Files(Protocol):
    """Encoded images in a fixed order. ``EncodedSource`` makes a source of them."""

    @property
    def name(self) -> str:
        """A short name for messages and reports."""
        ...

    @property
    def place(self) -> str:
        """Where they lie, as an absolute path: what their hashes are remembered under."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The name of each file, in order, each once: UTF-8 with ``surrogateescape``."""
        ...

    @property
    def labelling(self) -> Labelling:
        """Classes, labels and columns, as far as the files themselves tell."""
        ...

    @property
    def rising(self) -> bool:
        """Whether fetching is cheap in rising order alone; if so, one thread fetches."""
        ...

    def fetch(self, index: int) -> bytes:
        """The bytes of one file. Called from several threads unless ``rising``.

        Raises:
            FetchError, OSError: They cannot be had.
        """
        ...

    def stamp(self, index: int) -> Stamp | None:
        """What changes when the file's content does, told without reading it; None if gone."""
        ...


class EncodedSource:
    """Encoded image files as a source: decoded in threads, ahead of what is asked for.

    Args:
        files: Where the bytes come from.
        table: CSV, JSONL or Parquet file with labels, prompts, groups and further columns by file
            name; see ``benchgen.images.table``.
        background: What transparent images are composited on; see ``decode.parse_background``.

    Raises:
        ImageError: The table does not fit the files.
        UsageError: No such background.
    """

    def __init__(
        self,
        files: Files,
        *,
        table: str | Path | None = None,
        background: str | Sequence[int] = "white",
    ) -> None:
        self._files = files
        self._background = parse_background(background)
        own = files.labelling
        self._labelling = own if table is None else read_table(table).applied(files.names, own)

    @property
    def name(self) -> str:
        return self._files.name

    @property
    def size(self) -> int:
        return len(self._files.names)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labelling.classes

    @property
    def labels(self) -> Tensor | None:
        """int64 ``[size]`` into ``classes``, or None."""
        return self._labelling.labels

    @property
    def columns(self) -> Columns:
        """Text columns of all images: ``prompt``, ``group`` and others, by name."""
        return self._labelling.columns

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the decoding rules, and each name with its content's hash and labels.

        Files are read once, and only those that changed since a fingerprint was last taken.
        """
        return self.part(0, self.size)

    def part(self, start: int, stop: int) -> str:
        """sha256 over what decides the images ``start`` to ``stop - 1``; see ``known_part``."""
        if not 0 <= start <= stop <= self.size:
            raise ImageError(
                f"{self.name}: the part from {start} to {stop} was asked for; there are "
                f"{self.size} images"
            )
        rules = ["files", VERSION, self._background, sorted(self.columns)]
        digest = hashlib.sha256(json.dumps(rules).encode())
        for index in range(start, stop):
            known = [
                self._files.names[index],
                self._hashes[index],
                *self._labelling.described(index),
            ]
            digest.update(b"\n" + json.dumps(known).encode())
        return digest.hexdigest()

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield these images in batches of one size each; see ``Source.read``."""
        wanted = checked_indices(self, indices)
        return batched(self._load_in_order(wanted, 2 * batch_size), batch_size, self._labelling)

    @cached_property
    def _hashes(self) -> list[str]:
        """sha256 (hex) of each file, or why it cannot be had."""
        names = self._files.names
        memory = HashMemory(self._files.place)
        found = [memory.recall(names[index], self._stamp(index)) for index in range(self.size)]
        missing = [index for index, known in enumerate(found) if known is None]
        with ThreadPoolExecutor(1 if self._files.rising else _THREADS) as pool:
            hashed = pool.map(lambda index: self._hash(index, memory), missing)
            for index, one in zip(missing, hashed, strict=True):
                found[index] = one
        memory.save()
        return [known for known in found if known is not None]

    def _hash(self, index: int, memory: HashMemory) -> str:
        stamp = self._stamp(index)
        encoded = self._fetch(index)
        if isinstance(encoded, Excluded):
            return f"unusable: {encoded.reason}"
        found = hashlib.sha256(encoded).hexdigest()
        if stamp is not None and stamp == self._stamp(index):
            memory.remember(self._files.names[index], stamp, found)
        return found

    def _stamp(self, index: int) -> Stamp | None:
        try:
            return self._files.stamp(index)
        except OSError:
            return None

    def _load_in_order(self, indices: list[int], ahead: int) -> Iterator[Loaded | Excluded]:
        """Decode in threads, at most ``ahead`` images before the one that is asked for.

        Of large images fewer, so that memory stays bounded.
        """
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="benchgen-decode")
        pending: deque[Future[Loaded | Excluded]] = deque()
        try:
            for task in self._submitted(pool, indices):
                pending.append(task)
                while len(pending) > ahead:
                    one = pending.popleft().result()
                    yield one
                    if isinstance(one, Loaded):
                        ahead = min(ahead, max(_THREADS, _AHEAD_BYTES // one.nbytes))
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _submitted(
        self, pool: ThreadPoolExecutor, indices: list[int]
    ) -> Iterator[Future[Loaded | Excluded]]:
        if self._files.rising:
            for index, encoded in self._fetched_rising(indices):
                yield pool.submit(self._decode, index, encoded)
        else:
            for index in indices:
                yield pool.submit(self._load, index)

    def _fetched_rising(self, indices: list[int]) -> Iterator[tuple[int, bytes | Excluded]]:
        """The bytes of these files in the order asked for, fetched in rising order."""
        for start in range(0, len(indices), _WINDOW):
            window = indices[start : start + _WINDOW]
            if window == sorted(window):
                yield from ((index, self._fetch(index)) for index in window)
            else:
                held = {index: self._fetch(index) for index in sorted(window)}
                yield from ((index, held[index]) for index in window)

    def _load(self, index: int) -> Loaded | Excluded:
        return self._decode(index, self._fetch(index))

    def _fetch(self, index: int) -> bytes | Excluded:
        try:
            return self._files.fetch(index)
        except FetchError as error:
            return self._excluded(index, str(error))
        except OSError as error:
            return self._excluded(index, f"cannot be read: {error.strerror or error}")

    def _decode(self, index: int, encoded: bytes | Excluded) -> Loaded | Excluded:
        if isinstance(encoded, Excluded):
            return encoded
        try:
            decoded: Decoded = decode(encoded, self._background)
        except DecodeError as error:
            return self._excluded(index, str(error))
        return Loaded(index, printable(self._files.names[index]), decoded, encoded)

    def _excluded(self, index: int, reason: str) -> Excluded:
        return Excluded(index, printable(self._files.names[index]), reason)


def is_image(name: str) -> bool:
    """Whether a name has a suffix in ``SUFFIXES``, in any case, and no part of it is hidden."""
    parts = name.split("/")
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in parts)


def checked_size(size: int) -> None:
    """Refuse to read what is too large to be an image.

    Raises:
        FetchError: More than ``MAX_BYTES``.
    """
    if size > MAX_BYTES:
        raise FetchError(f"{size:,} bytes; the most accepted of one image is {MAX_BYTES:,}")
