"""What loaded extractors and measures make of a batch, as rows for the store."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchgen.errors import PluginError, blamed
from benchgen.features.extractor import Extracted
from benchgen.features.store import Shard
from benchgen.host.specs import ExtractorSpec
from benchgen.images.encode import png
from benchgen.images.source import ImageBatch, Source
from benchgen.runs.chosen import Reader

PICTURE_SIDE = 96
"""The pictures that are kept are at most this many pixels wide and high."""

RECORDS = {"reader": "records", "version": "2"}
_RECORD_COLUMNS = ("name", "label", "decoding", "texts", "picture")


class Limits:
    """How many images each extractor takes at once: halved whenever GPU memory runs out.

    Args:
        tell: Hears of each halving.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._most: dict[Reader, int] = {}

    def chunks(self, reader: Reader, images: Tensor) -> Sequence[Tensor]:
        """The images in as many parts as the extractor needs."""
        return torch.split(images, self._most.get(reader, max(1, len(images))))

    def halve(self, reader: Reader, count: int) -> None:
        """Take it that ``count`` images are too many.

        Raises:
            PluginError: If that is one image.
        """
        who = f"extractor {reader.registered.id}"
        if count < 2:
            raise PluginError(
                f"{who}: the GPU has too little free memory for a single image; free some, or use "
                "another device (--device cpu)"
            )
        self._most[reader] = count // 2
        torch.cuda.empty_cache()
        self._tell(
            f"{who}: GPU memory does not hold {count} images at once; going on with {count // 2}"
        )


def nothing(reader: Reader | None) -> Shard:
    """No rows, with the tensors and columns that a reader's rows have; None is the records."""
    tensors = {"indices": torch.empty(0, dtype=torch.int64)}
    if reader is None:
        return Shard(tensors, {column: [] for column in _RECORD_COLUMNS})
    if not isinstance(reader.registered.spec, ExtractorSpec):
        return Shard(tensors, {column: [] for column in reader.columns})
    tensors["features"] = torch.empty(0, reader.read.d)
    if reader.classes:
        tensors["logits"] = torch.empty(0, len(reader.classes))
    return Shard(tensors)


def rows_of(reader: Reader | None, source: Source, batch: ImageBatch, limits: Limits) -> Shard:
    """The rows of a batch under a reader; None is the records.

    Raises:
        PluginError: If the reader fails, or returns other than it promises.
    """
    tensors = {"indices": batch.indices}
    if reader is None:
        return Shard(tensors, _records(source, batch))
    if not isinstance(reader.registered.spec, ExtractorSpec):
        return Shard(tensors, _measured(reader, batch))
    found = _extracted(reader, batch.images, limits)
    tensors["features"] = found.features.float()
    if found.logits is not None and reader.classes:
        tensors["logits"] = found.logits.float()
    return Shard(tensors)


def only(batch: ImageBatch, wanted: frozenset[int]) -> ImageBatch:
    """The images of a batch that have these indices."""
    chosen = [place for place, index in enumerate(batch.indices.tolist()) if index in wanted]
    if len(chosen) == len(batch.indices):
        return batch

    def of(values: Sequence[Any] | None) -> Any:
        return None if values is None else tuple(values[place] for place in chosen)

    return replace(
        batch,
        indices=batch.indices[chosen],
        images=batch.images[chosen],
        labels=None if batch.labels is None else batch.labels[chosen],
        names=of(batch.names or None) or (),
        encoded=of(batch.encoded),
        flags=of(batch.flags),
        columns={name: of(values) for name, values in batch.columns.items()},
    )


def _records(source: Source, batch: ImageBatch) -> dict[str, list[Any]]:
    count = len(batch.indices)
    labels: list[str | None] = [None] * count
    if batch.labels is not None:
        labels = [source.classes[label] for label in batch.labels.tolist()]
    return {
        "name": list(batch.names or map(str, batch.indices.tolist())),
        "label": labels,
        "decoding": [" ".join(flags) for flags in batch.flags or [()] * count],
        "texts": [
            {name: values[place] for name, values in batch.columns.items()}
            for place in range(count)
        ],
        "picture": [
            base64.b64encode(png(image, PICTURE_SIDE)).decode("ascii") for image in batch.images
        ],
    }


def _extracted(reader: Reader, images: Tensor, limits: Limits) -> Extracted:
    """Features of images, checked against what the extractor promises."""
    while True:
        parts = []
        for chunk in limits.chunks(reader, images):
            found = _call(reader, chunk)
            if found is None:
                limits.halve(reader, len(chunk))
                break
            parts.append(found)
        else:
            break
    logits = [part.logits for part in parts if part.logits is not None]
    return Extracted(
        torch.cat([part.features for part in parts]),
        torch.cat(logits) if len(logits) == len(parts) else None,
    )


def _call(reader: Reader, images: Tensor) -> Extracted | None:
    """What an extractor returns; None where GPU memory runs out."""
    who = f"extractor {reader.registered.id}"
    with blamed(who):
        try:
            found: Extracted = reader.read(images)
        except torch.cuda.OutOfMemoryError:
            return None
    promised: dict[str, tuple[Tensor | None, int]] = {"features": (found.features, reader.read.d)}
    if reader.classes:
        promised["logits"] = (found.logits, len(reader.classes))
    for what, (rows, width) in promised.items():
        expected = (len(images), width)
        if rows is None or tuple(rows.shape) != expected:
            shape = None if rows is None else tuple(rows.shape)
            raise PluginError(f"{who} returned {what} of shape {shape}; expected {expected}")
    return found


def _measured(reader: Reader, batch: ImageBatch) -> dict[str, list[Any]]:
    """Columns of a batch, checked against what the measure promises."""
    who = f"measure {reader.registered.id}"
    with blamed(who):
        found = dict(reader.read(batch))
    for column in reader.columns:
        count = len(found[column]) if column in found else 0
        if count != len(batch.indices):
            raise PluginError(
                f"{who} returned {count} values of {column!r} for {len(batch.indices)} images"
            )
    return {column: list(found[column]) for column in reader.columns}
