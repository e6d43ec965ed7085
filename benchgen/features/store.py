"""The content-addressed store: the one place where features and columns live.

An entry is addressed by the source's and the extractor's (or measure's) fingerprints and holds
shards, each the rows of one range of indices in a safetensors file that carries its own checksum.
Shards are written atomically, so a killed run loses only the one in flight, and two processes can
share a store: whoever finishes last replaces a file by its equal. ``benchgen.features.pool`` finds
rows again by image, across entries.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchgen.errors import StoreError
from benchgen.files import write_atomically
from benchgen.hashing import digest
from benchgen.images.source import Excluded
from benchgen.paths import cache_dir

SHARD = 250
_SHARD_NAME = re.compile(r"(\d{9})-(\d{9})\.safetensors")


@dataclass(frozen=True)
class Shard:
    """What one range of indices gave.

    Attributes:
        tensors: Named tensors of B rows each; ``indices`` (int64) is always among them.
        columns: Named columns of B values each (for measures, and names of images).
        excluded: Images of the range that could not be used.
    """

    tensors: Mapping[str, Tensor]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    excluded: tuple[Excluded, ...] = ()

    @classmethod
    def joined(cls, shards: Sequence[Shard], excluded: Sequence[Excluded] = ()) -> Shard:
        """The rows of all in order of index; each has the tensors and columns of the first.

        Rows of images that are ``excluded`` are left out.
        """
        indices = torch.cat([shard.tensors["indices"] for shard in shards])
        without = torch.tensor([one.index for one in excluded], dtype=torch.int64)
        order = torch.argsort(indices)
        order = order[~torch.isin(indices[order], without)]
        first = shards[0]
        return cls(
            {name: torch.cat([s.tensors[name] for s in shards])[order] for name in first.tensors},
            {
                name: _picked([v for s in shards for v in s.columns[name]], order)
                for name in first.columns
            },
            tuple(sorted(excluded, key=lambda one: one.index)),
        )

    def rows(self, places: Tensor, indices: Tensor | None = None) -> Shard:
        """The rows at these places (int64 ``[b]``), with other indices where they are given."""
        tensors = {name: value[places] for name, value in self.tensors.items()}
        if indices is not None:
            tensors["indices"] = indices
        return Shard(tensors, {n: _picked(v, places) for n, v in self.columns.items()})


@dataclass(frozen=True)
class Entry:
    """All shards of one source under one extractor or measure."""

    directory: Path
    key: str

    def missing(self, n: int) -> list[tuple[int, int]]:
        """The ranges below ``n`` that no sound shard covers, cut at multiples of ``SHARD``."""
        gaps = []
        at = 0
        for start, stop in self._ranges():
            if start > at:
                gaps.append((at, min(start, n)))
            at = max(at, stop)
        gaps.append((at, n))
        return [
            (max(start, cut), min(stop, cut + SHARD))
            for start, stop in gaps
            for cut in range(start - start % SHARD, stop, SHARD)
            if max(start, cut) < min(stop, cut + SHARD)
        ]

    def write(self, start: int, stop: int, shard: Shard) -> None:
        """Store a range.

        Raises:
            StoreError: If the disk is full or the store cannot be written.
        """
        tensors = {name: value.contiguous() for name, value in shard.tensors.items()}
        side = {
            "columns": {name: list(values) for name, values in shard.columns.items()},
            "excluded": [[e.index, e.name, e.reason] for e in shard.excluded],
        }
        metadata = {"side": json.dumps(side), "sha256": _checksum(tensors, json.dumps(side))}
        write_atomically(self.path(start, stop), save(tensors, metadata=metadata))

    def shards(self, n: int) -> Iterator[Shard]:
        """The shards of the first ``n`` images in index order, each checked against its checksum.

        Raises:
            StoreError: If a shard is damaged; it is removed, so that running again rebuilds it.
                Or if one is missing: never are there fewer images than were asked for.
        """
        at = 0
        for start, stop in self._ranges():
            if start >= n or start > at:
                break
            if stop > at:
                yield _below(n, self.read(start, stop), start=at)
                at = stop
        if at < n:
            raise StoreError(
                f"{self.directory} lacks the images from {at} on (of {n}); run again to make them"
            )

    def drop_damaged(self, n: int) -> int:
        """Remove shards below ``n`` that fail their checksum; return how many."""
        dropped = 0
        for start, stop in self._ranges():
            if start >= n:
                break
            try:
                self.read(start, stop)
            except StoreError:
                dropped += 1
        return dropped

    def features(
        self, n: int, tensor: Literal["features", "logits"] = "features"
    ) -> StoredFeatures:
        """The rows of the first ``n`` images: their features, or their class logits."""
        return StoredFeatures(self, n, tensor)

    def _ranges(self) -> list[tuple[int, int]]:
        """Every range that is stored, sorted."""
        if not self.directory.is_dir():
            return []
        matches = (_SHARD_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted((int(m[1]), int(m[2])) for m in matches if m)

    def path(self, start: int, stop: int) -> Path:
        """Where the shard of a range is, or would be."""
        return self.directory / f"{start:09d}-{stop:09d}.safetensors"

    def read(self, start: int, stop: int) -> Shard:
        """One stored range.

        Raises:
            StoreError: If it is missing, or damaged; then it is removed.
        """
        path = self.path(start, stop)
        before = _state(path)
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
            sound = metadata.get("sha256") == _checksum(tensors, metadata.get("side", ""))
        except (SafetensorError, OSError, ValueError):
            sound = False
        if not sound:
            if _state(path) == before:  # or another process has just put a sound one there
                path.unlink(missing_ok=True)
            raise StoreError(f"{path} was damaged and has been removed; run again to rebuild it")
        side = json.loads(metadata["side"])
        excluded = tuple(Excluded(*fields) for fields in side["excluded"])
        return Shard(tensors, side["columns"], excluded)


@dataclass(frozen=True)
class StoredFeatures:
    """Rows of an entry as a feature set: read shard by shard, never all at once."""

    entry: Entry
    limit: int
    tensor: str
    strata: Tensor | None = None

    @cached_property
    def n(self) -> int:
        return sum(len(rows) for rows in self.blocks())

    @cached_property
    def d(self) -> int:
        return next(self.blocks()).shape[1]

    def blocks(self) -> Iterator[Tensor]:
        for shard in self.entry.shards(self.limit):
            rows = shard.tensors[self.tensor]
            if len(rows):
                yield rows


class Store:
    """Entries under one directory; the default is the cache directory of the user."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_dir() / "features"

    def entry(self, source: str, reader: Mapping[str, Any]) -> Entry:
        """The entry of a source's fingerprint under an extractor's or measure's fields."""
        fields = {"source": source, "reader": dict(reader)}
        key = digest(fields)
        directory = self.directory / key[:2] / key
        description = directory / "key.json"
        if not description.exists():
            write_atomically(description, json.dumps(fields, indent=1, sort_keys=True))
        return Entry(directory, key)

    def find(self, key: str) -> Entry:
        """The entry of a key that ``entry`` once gave."""
        return Entry(self.directory / key[:2] / key, key)


def _checksum(tensors: Mapping[str, Tensor], side: str) -> str:
    state = hashlib.sha256(side.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        state.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        state.update(value.view(torch.uint8).numpy().data if value.numel() else b"")
    return state.hexdigest()


def _below(n: int, shard: Shard, start: int) -> Shard:
    """The part of a shard whose indices lie in ``[start, n)``."""
    indices = shard.tensors["indices"]
    kept = shard.rows(((indices >= start) & (indices < n)).nonzero().flatten())
    excluded = tuple(e for e in shard.excluded if start <= e.index < n)
    return Shard(kept.tensors, kept.columns, excluded)


def _picked(values: Sequence[Any], places: Tensor) -> list[Any]:
    return [values[place] for place in places.tolist()]


def _state(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that has replaced it; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
