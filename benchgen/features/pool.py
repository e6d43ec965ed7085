"""Rows found again by image: what one source's images gave serves every source that holds them.

A source whose images are known one by one (``known_part``) is another source as soon as one of
them changes, comes or goes, and has another entry in the store. All its other rows are copied from
older entries. Beside the entries there lies, for each reader, a notice of every shard of such a
source: a small file that says which image each index of the shard is.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchgen.errors import StoreError
from benchgen.features.store import Shard, Store
from benchgen.files import write_atomically
from benchgen.hashing import digest
from benchgen.images.source import Source, known_part

_NOTICE = re.compile(r"([0-9a-f]{64})-(\d{9})-(\d{9})\.images")
_SHARDS_IN_MEMORY = 32


class _Place(NamedTuple):
    """A shard: the key of its entry, and its range."""

    key: str
    start: int
    stop: int


def identities(source: Source, start: int, stop: int) -> list[str] | None:
    """What each image of a range is, wherever it stands: its content, name, label, columns.

    One sha256 (hex) an image; None where the source does not know its images one by one.
    """
    classes = "\0".join(source.classes).encode("utf-8", "surrogateescape")
    found = []
    for index in range(start, stop):
        part = known_part(source, index, index + 1)
        if part is None:
            return None
        found.append(hashlib.sha256(part.encode() + b"\0" + classes).hexdigest())
    return found


class Pool:
    """All rows that a reader has stored of images that are known one by one.

    Two processes may share it: a notice is written once its shard is there, and one whose shard is
    gone is passed over.
    """

    def __init__(self, store: Store, reader: Mapping[str, Any]) -> None:
        self._store = store
        self._directory = store.directory / "pool" / digest(dict(reader))
        self._index: dict[str, tuple[_Place, int]] | None = None
        self._shards: OrderedDict[_Place, Shard | None] = OrderedDict()

    def announce(self, key: str, start: int, images: Sequence[str]) -> None:
        """Tell of a stored shard of the entry ``key``: which images its indices are.

        Raises:
            StoreError: If it cannot be written.
        """
        name = f"{key}-{start:09d}-{start + len(images):09d}.images"
        write_atomically(self._directory / name, "\n".join(images))

    def known(self, start: int, images: Sequence[str]) -> Shard | None:
        """The rows of those images that are known; the i-th has the index ``start + i``.

        Shards that fail their checksum are removed from the store, and their rows are unknown.
        """
        wanted: dict[_Place, list[tuple[int, int]]] = {}
        for index, image in enumerate(images, start):
            if (found := self._found().get(image)) is not None:
                wanted.setdefault(found[0], []).append((found[1], index))
        parts = [part for place, pairs in wanted.items() if (part := self._taken(place, pairs))]
        return Shard.joined(parts) if parts else None

    def _found(self) -> dict[str, tuple[_Place, int]]:
        """Where each image is; of several places the one written last."""
        if self._index is None:
            self._index = {}
            for place, path in self._notices():
                images = path.read_text("ascii").split("\n")
                for index, image in enumerate(images, place.start):
                    self._index[image] = place, index
        return self._index

    def _notices(self) -> list[tuple[_Place, Path]]:
        if not self._directory.is_dir():
            return []
        found = []
        for path in self._directory.iterdir():
            match = _NOTICE.fullmatch(path.name)
            if match is None:
                continue
            place = _Place(match[1], int(match[2]), int(match[3]))
            shard = self._store.find(place.key).path(place.start, place.stop)
            if shard.is_file():
                found.append((shard.stat().st_mtime_ns, place, path))
        return [(place, path) for _, place, path in sorted(found)]

    def _taken(self, place: _Place, pairs: Sequence[tuple[int, int]]) -> Shard | None:
        """Rows of one shard, by pairs of its own index and the one to give."""
        shard = self._read(place)
        if shard is None:
            return None
        at = {index: row for row, index in enumerate(shard.tensors["indices"].tolist())}
        there = [(at[own], index) for own, index in pairs if own in at]
        if not there:
            return None
        rows, indices = (torch.tensor(column) for column in zip(*there, strict=True))
        return shard.rows(rows, indices)

    def _read(self, place: _Place) -> Shard | None:
        if place not in self._shards:
            try:
                self._shards[place] = self._store.find(place.key).read(place.start, place.stop)
            except StoreError:
                self._shards[place] = None
            if len(self._shards) > _SHARDS_IN_MEMORY:
                self._shards.popitem(last=False)
        self._shards.move_to_end(place)
        return self._shards[place]
