"""Images of many sizes, one after another, into batches of one size each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from benchgen.images.decode import Decoded
from benchgen.images.labelling import Labelling
from benchgen.images.source import Excluded, ImageBatch

# How many batches' worth of images wait for others of their size before a short batch is cut.
_LOOK_AHEAD = 4
# Large photographs make smaller batches, so that memory stays bounded whatever the batch size.
_BATCH_BYTES = 2**28


@dataclass(frozen=True)
class Loaded:
    """One decoded image; ``encoded`` is its file's bytes, where there is a file."""

    index: int
    name: str
    decoded: Decoded
    encoded: bytes | None = None
    label: int | None = None

    @property
    def nbytes(self) -> int:
        return self.decoded.image.numel()


def batched(
    stream: Iterable[Loaded | Excluded], batch_size: int, labelling: Labelling
) -> Iterator[ImageBatch]:
    """Batches of one image size each, in the order of the stream as far as sizes allow.

    A batch may hold fewer than ``batch_size`` images where few of a size come close together, or
    where the images are large. Each batch carries the images that were excluded before it.
    """
    waiting = _Waiting(batch_size)
    excluded: list[Excluded] = []
    for one in stream:
        if isinstance(one, Excluded):
            excluded.append(one)
        elif ready := waiting.add(one):
            yield _batch(ready, excluded, labelling)
            excluded = []
    for rest in waiting.rest():
        yield _batch(rest, excluded, labelling)
        excluded = []
    if excluded:
        yield _batch([], excluded, labelling)


@dataclass
class _Waiting:
    """Images that wait for others of their size; the size that waits longest comes first."""

    batch_size: int
    groups: dict[torch.Size, list[Loaded]] = field(default_factory=dict)
    count: int = 0
    nbytes: int = 0

    def add(self, one: Loaded) -> list[Loaded]:
        """Take one more image; return those of a full batch, or of one that must be cut short."""
        shape = one.decoded.image.shape
        group = self.groups.setdefault(shape, [])
        group.append(one)
        self.count += 1
        self.nbytes += one.nbytes
        if len(group) >= self.batch_size or len(group) * one.nbytes >= _BATCH_BYTES:
            return self._take(shape)
        limit = _LOOK_AHEAD * self.batch_size
        if self.count >= limit or self.nbytes >= _LOOK_AHEAD * _BATCH_BYTES:
            return self._take(next(iter(self.groups)))
        return []

    def rest(self) -> Iterator[list[Loaded]]:
        """All that is left, the size that waits longest first."""
        yield from list(self.groups.values())

    def _take(self, shape: torch.Size) -> list[Loaded]:
        group = self.groups.pop(shape)
        self.count -= len(group)
        self.nbytes -= sum(one.nbytes for one in group)
        return group


def _batch(loaded: list[Loaded], excluded: list[Excluded], labelling: Labelling) -> ImageBatch:
    rows = [one.index for one in loaded]
    indices = torch.tensor(rows, dtype=torch.int64)
    images = [one.decoded.image for one in loaded]
    encoded = tuple(one.encoded for one in loaded if one.encoded is not None)
    return ImageBatch(
        indices=indices,
        images=torch.stack(images) if images else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
        labels=_labels(loaded, indices, labelling),
        names=tuple(one.name for one in loaded),
        encoded=encoded if len(encoded) == len(loaded) else None,
        flags=tuple(one.decoded.flags for one in loaded),
        excluded=tuple(excluded),
        columns={
            name: tuple(values[row] for row in rows) for name, values in labelling.columns.items()
        },
    )


def _labels(
    loaded: list[Loaded], indices: torch.Tensor, labelling: Labelling
) -> torch.Tensor | None:
    if labelling.labels is not None:
        return labelling.labels[indices]
    own = [one.label for one in loaded if one.label is not None]
    return torch.tensor(own, dtype=torch.int64) if own and len(own) == len(loaded) else None
