"""The content-addressed store: the one place where features and columns live.

An entry is addressed by the source's and the extractor's (or measure's) fingerprints and holds
shards, each the rows of one range of indices in a safetensors file that carries its own checksum.
Shards are written atomically, so a killed run loses only the one in flight, and two processes can
share a store: whoever finishes last replaces a file by its equal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

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
        name = f"{start:09d}-{stop:09d}.safetensors"
        write_atomically(self.directory / name, save(tensors, metadata=metadata))

    def shards(self, n: int) -> Iterator[Shard]:
        """The shards of the first ``n`` images in index order, each checked against its checksum.

        Raises:
            StoreError: If a shard is damaged; it is removed, so that running again rebuilds it.
        """
        at = 0
        for start, stop in self._ranges():
            if start >= n:
                break
            if stop > at:
                yield _below(n, self._read(start, stop), start=at)
                at = stop

    def drop_damaged(self, n: int) -> int:
        """Remove shards below ``n`` that fail their checksum; return how many."""
        dropped = 0
        for start, stop in self._ranges():
            if start >= n:
                break
            try:
                self._read(start, stop)
            except StoreError:
                dropped += 1
        return dropped

    def features(self, n: int) -> StoredFeatures:
        """The feature rows of the first ``n`` images."""
        return StoredFeatures(self, n, "features")

    def logits(self, n: int) -> StoredFeatures:
        """The class logits of the first ``n`` images."""
        return StoredFeatures(self, n, "logits")

    def _ranges(self) -> list[tuple[int, int]]:
        if not self.directory.is_dir():
            return []
        matches = (_SHARD_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted((int(m[1]), int(m[2])) for m in matches if m)

    def _read(self, start: int, stop: int) -> Shard:
        path = self.directory / f"{start:09d}-{stop:09d}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
            sound = metadata.get("sha256") == _checksum(tensors, metadata.get("side", ""))
        except (SafetensorError, OSError, ValueError):
            sound = False
        if not sound:
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
    keep = (indices >= start) & (indices < n)
    chosen = keep.nonzero().flatten().tolist()
    return Shard(
        {name: value[keep] for name, value in shard.tensors.items()},
        {name: [values[i] for i in chosen] for name, values in shard.columns.items()},
        tuple(e for e in shard.excluded if start <= e.index < n),
    )
