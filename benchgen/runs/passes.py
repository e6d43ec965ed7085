"""One pass over a source: every extractor and measure sees each batch while it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.features.pool import Pool
from benchgen.features.store import Entry, Shard, Store, StoredFeatures
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import Excluded, Source, is_stratified
from benchgen.metrics.base import FeatureSet, TensorFeatures
from benchgen.runs.chosen import Reader
from benchgen.runs.ranges import Drain, Timing, fill, gaps
from benchgen.runs.readers import RECORDS, Limits

_IN_MEMORY_BYTES = 1 << 26
"""Larger sets are read anew in each pass over them, so that moments of any number fit."""

_PROBE = {"reader": "probe", "version": "1"}


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
class Passed:
    """What a pass over one source left in the store.

    ``extracted`` and ``measured`` are keyed by the readers' labels; ``records`` says of each image
    its name, label and text columns, what decoding changed, and keeps a small picture of it.
    """

    n: int
    extracted: dict[str, Entry]
    measured: dict[str, Entry]
    records: Entry
    stratified: bool
    timing: Timing = field(default_factory=Timing)
    _sets: dict[tuple[str, str], FeatureSet] = field(default_factory=dict, repr=False)

    def features(self, label: str) -> FeatureSet:
        """The feature rows under one extractor, in memory where they are few."""
        return self._set("features", label)

    def logits(self, label: str) -> FeatureSet:
        """The class logits under one extractor."""
        return self._set("logits", label)

    def _set(self, tensor: Literal["features", "logits"], label: str) -> FeatureSet:
        if (tensor, label) not in self._sets:
            stored = self.extracted[label].features(self.n, tensor)
            self._sets[tensor, label] = _in_memory(replace(stored, strata=self._strata))
        return self._sets[tensor, label]

    @property
    def images(self) -> dict[str, list[Any]]:
        """What is known of each image that could be used.

        Index, name, label, decoding; and the source's text columns, such as prompt and group.
        """
        return self._read_records[0]

    @property
    def excluded(self) -> list[Excluded]:
        """Images that could not be used."""
        return self._read_records[1]

    @cached_property
    def _read_records(self) -> tuple[dict[str, list[Any]], list[Excluded]]:
        images: dict[str, list[Any]] = {"index": [], "name": [], "label": [], "decoding": []}
        texts: list[dict[str, str | None]] = []
        excluded: list[Excluded] = []
        for shard in self.records.shards(self.n):
            images["index"] += shard.tensors["indices"].tolist()
            for column in ("name", "label", "decoding"):
                images[column] += shard.columns[column]
            texts += shard.columns["texts"]
            excluded += shard.excluded
        for column in dict.fromkeys(name for known in texts for name in known):
            name = f"{column}@source" if column in images else column
            images[name] = [known.get(column) for known in texts]
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
        for label, measured in self.measures.items():
            for column, values in measured.items():
                columns[column if column not in columns else f"{column}@{label}"] = values
        return columns

    @cached_property
    def measures(self) -> dict[str, dict[str, list[Any]]]:
        """What each measure found of each image: by its label, then by column."""
        found: dict[str, dict[str, list[Any]]] = {}
        for label, entry in self.measured.items():
            columns = found[label] = {}
            for shard in entry.shards(self.n):
                for column, values in shard.columns.items():
                    columns.setdefault(column, []).extend(values)
        return found


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
    limits: Limits,
    observer: Observer,
    log: Callable[..., None],
) -> Passed:
    """Bring the first ``n`` images of a source through all readers into the store.

    Images that every reader has stored are neither sampled nor decoded again; neither are those
    that another source had, where the source knows its images one by one.

    Raises:
        GeneratorError: If the source is a generator that fails.
        ImageError: If more than the share ``skip_bad`` of the images is unreadable.
        StoreError: If the store cannot be written.
    """
    print_ = source.fingerprint

    def drain(reader: Reader | None) -> Drain:
        fields = RECORDS if reader is None else reader.fields
        return Drain(reader, store.entry(print_, fields), Pool(store, fields))

    records = drain(None)
    extracting = [drain(reader) for reader in extractors]
    measuring = [drain(reader) for reader in measures]
    passed = Passed(
        n,
        {reader.label: one.entry for reader, one in zip(extractors, extracting, strict=True)},
        {reader.label: one.entry for reader, one in zip(measures, measuring, strict=True)},
        records.entry,
        is_stratified(source, n),
    )
    drains = [records, *extracting, *measuring]
    for one in drains:
        if dropped := one.entry.drop_damaged(n):
            log("damaged", row=name, shards=dropped)
            observer.message(f"{name}: damaged shards in the store: {dropped}; rebuilding them")
    drifts = [_drift(reader) for reader in extractors]
    todo = gaps(drains, n)
    observer.begin(name, n, n - sum(stop - start for start, stop in todo))
    with closing(fill(source, todo, batch_size, limits, passed.timing)) as made:
        for done in made:
            log("shard", row=name, start=done.start, stop=done.stop, read=len(done.wanted))
            observer.advance(name, done.stop - done.start)
    observer.end(name)
    for reader, known in zip(extractors, drifts, strict=True):
        if (drift := _drift(reader)) != known:
            log("drift", extractor=reader.label, drift=drift)
            observer.message(
                f"{reader.label}: faster arithmetic moves features by {drift:.2%} of their spread"
            )
    _refuse_bad(name, passed.excluded, n, skip_bad)
    return passed


def probed(source: GeneratedSource, store: Store) -> dict[str, Any]:
    """``index_pure`` and ``model_parameters`` of a source's record; found once, then stored."""
    entry = store.entry(source.fingerprint, _PROBE)
    if entry.missing(2):
        found = {"index_pure": source.index_pure(), "model_parameters": source.model_parameters()}
        columns = {name: [value, value] for name, value in found.items()}
        entry.write(0, 2, Shard({"indices": torch.arange(2)}, columns))
    [shard] = entry.shards(2)
    return {name: values[0] for name, values in shard.columns.items()}


def _drift(reader: Reader) -> float | None:
    """How far an extractor's arithmetic was found to move its rows, where it measures that."""
    drift: float | None = getattr(reader.read, "drift", None)
    return drift


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
