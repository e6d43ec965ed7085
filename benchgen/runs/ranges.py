"""Ranges of images on their way into the store: read once, ahead of the readers that lack them."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

from benchgen.errors import ImageError
from benchgen.features.pool import Pool, identities
from benchgen.features.store import Entry, Shard
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import Excluded, ImageBatch, Source
from benchgen.runs.ahead import ahead
from benchgen.runs.chosen import Reader
from benchgen.runs.readers import Limits, nothing, only, rows_of

_BATCHES_AHEAD = 2


@dataclass
class Timing:
    """Seconds and images of one pass.

    Images from files are read ahead while extractors work, so the two times overlap.
    """

    images: int = 0
    source_seconds: float = 0.0
    extract_seconds: float = 0.0


@dataclass(frozen=True)
class Drain:
    """Where the rows of one reader go; None is the records."""

    reader: Reader | None
    entry: Entry
    pool: Pool


@dataclass
class Range:
    """Indices from ``start`` to ``stop``: what is known of them, and what was read.

    Attributes:
        drains: Those that lack this range.
        images: The identity of each image, where the source knows them one by one.
        lacking: The indices that each drain has to have read.
        rows: What each drain has so far.
        excluded: Images that could not be read.
    """

    start: int
    stop: int
    drains: Sequence[Drain]
    images: list[str] | None
    lacking: dict[Drain, frozenset[int]] = field(default_factory=dict)
    rows: dict[Drain, list[Shard]] = field(default_factory=dict)
    excluded: list[Excluded] = field(default_factory=list)
    seen: int = 0

    @classmethod
    def of(cls, source: Source, start: int, stop: int, drains: Sequence[Drain]) -> Range:
        """A range, with the rows that older entries hold of the same images."""
        made = cls(start, stop, drains, identities(source, start, stop))
        for drain in drains:
            known = None if made.images is None else drain.pool.known(start, made.images)
            made.rows[drain] = [nothing(drain.reader), *([] if known is None else [known])]
            there = set() if known is None else set(known.tensors["indices"].tolist())
            made.lacking[drain] = frozenset(range(start, stop)) - there
        return made

    @property
    def wanted(self) -> list[int]:
        """The indices that must be read, for whichever drain."""
        return sorted(frozenset().union(*self.lacking.values()))

    def take(self, source: Source, batch: ImageBatch, limits: Limits) -> None:
        """Feed a batch to every reader that lacks images of it; raises as ``rows_of`` does."""
        self.seen += len(batch.indices) + len(batch.excluded)
        self.excluded += batch.excluded
        for drain, lacking in self.lacking.items():
            part = only(batch, lacking)
            if len(part.indices):
                self.rows[drain].append(rows_of(drain.reader, source, part, limits))

    def write(self, source: Source) -> None:
        """Store the whole range.

        Raises:
            ImageError: If the source yielded fewer or more images than were asked for.
            StoreError: If it cannot be written.
        """
        if self.seen != len(self.wanted):
            raise ImageError(
                f"{source.name} yielded {self.seen} images for indices {self.start} to "
                f"{self.stop - 1}; expected {len(self.wanted)}"
            )
        for drain, rows in self.rows.items():
            drain.entry.write(self.start, self.stop, Shard.joined(rows, self.excluded))
            if self.images is not None:
                drain.pool.announce(drain.entry.key, self.start, self.images)


def gaps(drains: Sequence[Drain], n: int) -> Mapping[tuple[int, int], Sequence[Drain]]:
    """The ranges below ``n`` that must be made, in order, and the drains that lack each.

    Gaps are cut at one another's ends, so that no image falls into two ranges.
    """
    missing = [drain.entry.missing(n) for drain in drains]
    ends = sorted({end for gaps in missing for gap in gaps for end in gap})
    found: dict[tuple[int, int], list[Drain]] = {}
    for drain, own in zip(drains, missing, strict=True):
        for start, stop in own:
            for part in pairwise(end for end in ends if start <= end <= stop):
                found.setdefault(part, []).append(drain)
    return dict(sorted(found.items()))


def fill(
    source: Source,
    todo: Mapping[tuple[int, int], Sequence[Drain]],
    batch_size: int,
    limits: Limits,
    timing: Timing,
) -> Generator[Range]:
    """Make the ranges one after the other; each is stored when it is yielded.

    Images that are decoded come from a thread that works ahead, across ranges. Generators sample
    between the extractor's calls: both may set switches that are global to the process.

    Raises:
        GeneratorError, ImageError, PluginError: If the source or a reader fails.
        StoreError: If the store cannot be written.
    """
    stream = _read(source, todo, batch_size, timing)
    if not isinstance(source, GeneratedSource):
        stream = ahead(stream, _BATCHES_AHEAD)
    with closing(stream):
        for range_, batch in stream:
            if batch is None:
                range_.write(source)
                yield range_
                continue
            started = time.perf_counter()
            range_.take(source, batch, limits)
            timing.extract_seconds += time.perf_counter() - started
            timing.images += len(batch.indices)


def _read(
    source: Source,
    todo: Mapping[tuple[int, int], Sequence[Drain]],
    batch_size: int,
    timing: Timing,
) -> Generator[tuple[Range, ImageBatch | None]]:
    """The batches of each range, and None at its end."""
    for (start, stop), drains in todo.items():
        range_ = Range.of(source, start, stop, drains)
        batches = source.read(range_.wanted, batch_size)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            timing.source_seconds += time.perf_counter() - started
            yield range_, batch
            if batch is None:
                break
