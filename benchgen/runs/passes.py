"""One pass over a source: every extractor and measure sees each batch while it is in memory."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from benchgen.errors import ImageError, PluginError, blamed
from benchgen.features.extractor import Extracted
from benchgen.features.store import Entry, Shard, Store, StoredFeatures
from benchgen.images.encode import png
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import Excluded, ImageBatch, Source, is_stratified
from benchgen.metrics.base import FeatureSet, TensorFeatures
from benchgen.runs.plan import Reader

PICTURE_SIDE = 96
"""The pictures that are kept are at most this many pixels wide and high."""

_IN_MEMORY_BYTES = 1 << 30
_RECORDS = {"reader": "records", "version": "1"}
_PURITY = {"reader": "index purity", "version": "1"}


class Observer(Protocol):
    """Hears how a run goes on. The engine calls it; it must not raise."""

    def begin(self, row: str, total: int, done: int) -> None:
        """A row starts; ``done`` of its ``total`` images are in the store already."""

    def advance(self, row: str, images: int) -> None:
        """So many more images are stored."""

    def end(self, row: str) -> None:
        """The row's images are all stored."""

    def message(self, text: str) -> None:
        """Something a person should know."""


@dataclass
class Timing:
    """Seconds and images of one pass."""

    images: int = 0
    source_seconds: float = 0.0
    extract_seconds: float = 0.0


@dataclass
class Passed:
    """What a pass over one source left in the store.

    ``extracted`` and ``measured`` are keyed by the readers' labels; ``records`` says of each image
    its name and label, what decoding changed, and keeps a small picture of it.
    """

    n: int
    extracted: dict[str, Entry]
    measured: dict[str, Entry]
    records: Entry
    stratified: bool
    timing: Timing = field(default_factory=Timing)

    def features(self, label: str) -> FeatureSet:
        """The feature rows under one extractor, in memory where they are few."""
        return _in_memory(replace(self.extracted[label].features(self.n), strata=self._strata))

    def logits(self, label: str) -> FeatureSet:
        """The class logits under one extractor."""
        return _in_memory(replace(self.extracted[label].logits(self.n), strata=self._strata))

    @property
    def images(self) -> dict[str, list[Any]]:
        """What is known of each image that could be used: index, name, label, decoding."""
        return self._read_records[0]

    @property
    def excluded(self) -> list[Excluded]:
        """Images that could not be used."""
        return self._read_records[1]

    @cached_property
    def _read_records(self) -> tuple[dict[str, list[Any]], list[Excluded]]:
        images: dict[str, list[Any]] = {"index": [], "name": [], "label": [], "decoding": []}
        excluded: list[Excluded] = []
        for shard in self.records.shards(self.n):
            images["index"] += shard.tensors["indices"].tolist()
            for column in ("name", "label", "decoding"):
                images[column] += shard.columns[column]
            excluded += shard.excluded
        return images, excluded

    @cached_property
    def _strata(self) -> Tensor | None:
        """The label of each image, numbered, where the shares of labels are by design."""
        if not self.stratified:
            return None
        labels = self.images["label"]
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        return torch.tensor([numbers[label] for label in labels])

    def pictures(self, indices: Sequence[int]) -> dict[int, str]:
        """Small pictures of these images, PNG in base64, by index."""
        wanted = set(indices)
        return {
            index: encoded
            for shard in self.records.shards(self.n)
            for index, encoded in zip(
                shard.tensors["indices"].tolist(), shard.columns["picture"], strict=True
            )
            if index in wanted
        }

    def table(self, readers: Sequence[Reader]) -> dict[str, list[Any]]:
        """Per-image columns: ``images``, and what the readers' classifiers and the measures say."""
        columns = dict(self.images)
        for reader in readers:
            if reader.label in self.extracted and reader.classes:
                seen = [
                    torch.softmax(block.double(), 1).max(1)
                    for block in self.logits(reader.label).blocks()
                ]
                classes = [reader.classes[i] for s in seen for i in s.indices.tolist()]
                columns[f"class@{reader.label}"] = classes
                columns[f"confidence@{reader.label}"] = [p for s in seen for p in s.values.tolist()]
        for label, entry in self.measured.items():
            parts = [shard.columns for shard in entry.shards(self.n)]
            for column in parts[0] if parts else ():
                name = column if column not in columns else f"{column}@{label}"
                columns[name] = [value for part in parts for value in part[column]]
        return columns


def run_pass(
    source: Source,
    n: int,
    *,
    name: str,
    store: Store,
    extractors: Sequence[Reader],
    measures: Sequence[Reader],
    batch_size: int,
    skip_bad: float,
    observer: Observer,
    log: Callable[..., None],
) -> Passed:
    """Bring the first ``n`` images of a source through all readers into the store.

    Ranges that every reader has stored are neither sampled nor decoded again.

    Raises:
        GeneratorError: If the source is a generator that fails.
        ImageError: If more than the share ``skip_bad`` of the images is unreadable.
        StoreError: If the store cannot be written.
    """
    print_ = source.fingerprint
    passed = Passed(
        n,
        {r.label: store.entry(print_, r.fields) for r in extractors},
        {r.label: store.entry(print_, r.fields) for r in measures},
        store.entry(print_, _RECORDS),
        is_stratified(source, n),
    )
    entry_of: dict[Reader | None, Entry] = {None: passed.records}
    entry_of |= {reader: passed.extracted[reader.label] for reader in extractors}
    entry_of |= {reader: passed.measured[reader.label] for reader in measures}
    entries = list(entry_of.values())
    for entry in entries:
        if dropped := entry.drop_damaged(n):
            log("damaged", row=name, shards=dropped)
            observer.message(f"{name}: {dropped} damaged shards in the store; rebuilding them")
    gaps = dict(zip(entry_of, _aligned([entry.missing(n) for entry in entries]), strict=True))
    todo = sorted(set().union(*gaps.values()))
    observer.begin(name, n, n - sum(stop - start for start, stop in todo))
    for start, stop in todo:
        shards = _read_shard(
            source,
            range(start, stop),
            [reader for reader in extractors if (start, stop) in gaps[reader]],
            [reader for reader in measures if (start, stop) in gaps[reader]],
            batch_size,
            passed.timing,
        )
        for reader, shard in shards.items():
            entry_of[reader].write(start, stop, shard)
        log("shard", row=name, start=start, stop=stop)
        observer.advance(name, stop - start)
    observer.end(name)
    _refuse_bad(name, passed.excluded, n, skip_bad)
    return passed


def index_purity(source: GeneratedSource, store: Store) -> bool:
    """Whether a generator's image depends on (seed, index) alone; probed once, then stored."""
    entry = store.entry(source.fingerprint, _PURITY)
    if entry.missing(2):
        pure = source.index_pure()
        indices = torch.arange(2)
        entry.write(0, 2, Shard({"indices": indices}, {"index_pure": [pure, pure]}))
    return all(v for shard in entry.shards(2) for v in shard.columns["index_pure"])


def _aligned(gaps: list[list[tuple[int, int]]]) -> list[set[tuple[int, int]]]:
    """The same gaps, cut at one another's ends, so that no image falls into two ranges."""
    ends = sorted({end for entry in gaps for gap in entry for end in gap})
    return [
        {
            (a, b)
            for start, stop in entry
            for a, b in pairwise(end for end in ends if start <= end <= stop)
        }
        for entry in gaps
    ]


def _read_shard(
    source: Source,
    indices: range,
    extractors: Sequence[Reader],
    measures: Sequence[Reader],
    batch_size: int,
    timing: Timing,
) -> dict[Reader | None, Shard]:
    """Read a range of images once and feed them to every reader that lacks them."""
    batches: list[ImageBatch] = []
    pictures: list[str] = []
    extracted: dict[Reader, list[Extracted]] = {reader: [] for reader in extractors}
    measured: dict[Reader, list[dict[str, Any]]] = {reader: [] for reader in measures}
    stream = source.read(indices, batch_size)
    while True:
        started = time.perf_counter()
        batch = next(stream, None)
        timing.source_seconds += time.perf_counter() - started
        if batch is None:
            break
        started = time.perf_counter()
        if len(batch.indices):
            for reader in extractors:
                extracted[reader].append(_extract(reader, batch))
            for reader in measures:
                measured[reader].append(_measure(reader, batch))
        pictures += [_picture(image) for image in batch.images]
        timing.extract_seconds += time.perf_counter() - started
        timing.images += len(batch.indices)
        batches.append(replace(batch, images=batch.images[:0], encoded=None))
    seen = sum(len(batch.indices) + len(batch.excluded) for batch in batches)
    if seen != len(indices):
        raise ImageError(
            f"{source.name} yielded {seen} images for indices {indices.start} to "
            f"{indices.stop - 1}; expected {len(indices)}"
        )
    return _assemble(source, batches, pictures, extracted, measured)


def _picture(image: Tensor) -> str:
    return base64.b64encode(png(image, PICTURE_SIDE)).decode("ascii")


def _extract(reader: Reader, batch: ImageBatch) -> Extracted:
    """Features of a batch, checked against what the extractor promises."""
    who = f"extractor {reader.registered.id}"
    with blamed(who):
        found: Extracted = reader.read(batch.images)
    promised: dict[str, tuple[Tensor | None, int]] = {"features": (found.features, reader.read.d)}
    if reader.classes:
        promised["logits"] = (found.logits, len(reader.classes))
    for what, (rows, width) in promised.items():
        expected = (len(batch.indices), width)
        if rows is None or tuple(rows.shape) != expected:
            shape = None if rows is None else tuple(rows.shape)
            raise PluginError(f"{who} returned {what} of shape {shape}; expected {expected}")
    return found


def _measure(reader: Reader, batch: ImageBatch) -> dict[str, Any]:
    """Columns of a batch, checked against what the measure promises."""
    who = f"measure {reader.registered.id}"
    with blamed(who):
        found = dict(reader.read(batch))
    for column in reader.read.columns:
        count = len(found[column]) if column in found else 0
        if count != len(batch.indices):
            raise PluginError(
                f"{who} returned {count} values of {column!r} for {len(batch.indices)} images"
            )
    return found


def _assemble(
    source: Source,
    batches: list[ImageBatch],
    pictures: list[str],
    extracted: dict[Reader, list[Extracted]],
    measured: dict[Reader, list[dict[str, Any]]],
) -> dict[Reader | None, Shard]:
    """Put the batches of a range together, in order of index."""
    indices = torch.cat([batch.indices for batch in batches])
    order = torch.argsort(indices)
    base = {"indices": indices[order]}
    excluded = tuple(sorted((e for b in batches for e in b.excluded), key=lambda e: e.index))

    def in_order(values: list[Any]) -> list[Any]:
        return [values[i] for i in order.tolist()]

    names = [name for b in batches for name in (b.names or map(str, b.indices.tolist()))]
    labels = [
        None if b.labels is None else source.classes[int(b.labels[i])]
        for b in batches
        for i in range(len(b.indices))
    ]
    flags = [" ".join(f) for b in batches for f in (b.flags or [()] * len(b.indices))]
    columns = {
        "name": in_order(names),
        "label": in_order(labels),
        "decoding": in_order(flags),
        "picture": in_order(pictures),
    }
    shards: dict[Reader | None, Shard] = {None: Shard(base, columns, excluded)}
    for reader, rows in extracted.items():
        tensors = dict(base)
        tensors["features"] = _rows([r.features for r in rows], order, reader.read.d)
        if reader.classes:
            logits = [r.logits for r in rows if r.logits is not None]
            tensors["logits"] = _rows(logits, order, len(reader.classes))
        shards[reader] = Shard(tensors, {}, excluded)
    for reader, parts in measured.items():
        columns = {c: in_order([v for p in parts for v in p[c]]) for c in reader.read.columns}
        shards[reader] = Shard(base, columns, excluded)
    return shards


def _rows(parts: list[Tensor], order: Tensor, d: int) -> Tensor:
    return torch.cat(parts).float()[order] if parts else torch.empty(0, d)


def _refuse_bad(name: str, excluded: list[Excluded], n: int, skip_bad: float) -> None:
    if len(excluded) <= skip_bad * n:
        return
    listed = "; ".join(f"{e.name}: {e.reason}" for e in excluded[:5])
    more = f"; and {len(excluded) - 5} more" if len(excluded) > 5 else ""
    allowed = f"{skip_bad:.2%} may be" if skip_bad else "none may be"
    raise ImageError(
        f"{name}: {len(excluded)} of {n} images cannot be used, {allowed}: {listed}{more}. Repair "
        f"or remove them, or allow it with --skip-bad {max(len(excluded) / n, 0.0001):.4f}"
    )


def _in_memory(features: StoredFeatures) -> FeatureSet:
    blocks, size = [], 0
    for block in features.blocks():
        size += block.numel() * block.element_size()
        if size > _IN_MEMORY_BYTES:
            return features
        blocks.append(block)
    return TensorFeatures(torch.cat(blocks), features.strata) if blocks else features
