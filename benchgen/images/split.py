"""Parts and orders of a source: a subset by index, a fixed shuffle, and two halves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.source import ImageBatch, Source, checked_indices, known_labels, known_part


def halves(source: Source) -> tuple[Source, Source]:
    """Split a finite source into two disjoint halves, the same on every call.

    Within each class, where the source knows its labels without reading images, and over all
    images otherwise, positions are ordered by a hash of the source's size and the position, and
    dealt out in turn. Sizes, in all and per class, differ by at most one. Both halves keep the
    order of the hash over all classes, so the first N images of a half are a fair sample of it.
    An image whose content changes keeps its place, and so do all others.

    Raises:
        ImageError: the source has no end, or fewer than two images.
    """
    if source.size is None or source.size < 2:
        found = "has no end" if source.size is None else f"holds {source.size} image(s)"
        raise ImageError(f"{source.name} {found}; a split into halves needs at least 2 images")
    order = sorted(range(source.size), key=lambda at: _key(source, at))
    labels = known_labels(source)
    if labels is None:
        dealt = order
    else:
        classes = labels.tolist()
        dealt = sorted(order, key=classes.__getitem__)  # stable: the hash decides within a class
    second = set(dealt[1::2])
    first = [at for at in order if at not in second]
    both = (first, "first half"), ([at for at in order if at in second], "second half")
    one, two = (
        Subset(source, half, f"{source.name} ({name})", stratified=labels is not None)
        for half, name in both
    )
    return one, two


def shuffled(source: Source) -> Source:
    """A finite source in the pseudo-random order of a hash of its size and each position.

    Files come sorted by path, class by class; in this order the first N are a fair sample.
    """
    order = sorted(range(source.size or 0), key=lambda at: _key(source, at))
    return Subset(source, order, source.name)


class Subset:
    """Some images of a source, in an order of their own: image i is ``indices[i]`` of the source.

    Args:
        source: Where they come from.
        indices: Which, each at most once.
        name: What messages and reports call the subset.
        stratified: Whether the subset holds so many images of each label by design.

    Raises:
        ImageError: an index is repeated or beyond the source.
    """

    def __init__(
        self, source: Source, indices: Sequence[int], name: str, *, stratified: bool = False
    ) -> None:
        self.name = name
        self.stratified = stratified
        self._source = source
        self._indices = checked_indices(source, indices)
        self._position = {index: at for at, index in enumerate(self._indices)}
        if len(self._position) != len(self._indices):
            raise ImageError(f"{name}: the indices into {source.name} are not all different")

    @property
    def size(self) -> int:
        return len(self._indices)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._source.classes

    @property
    def labels(self) -> Tensor | None:
        labels = known_labels(self._source)
        return None if labels is None else labels[self._indices]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the source's fingerprint and the indices in order."""
        digest = hashlib.sha256(f"subset\0{self._source.fingerprint}\0".encode())
        digest.update(np.array(self._indices, dtype="<i8").tobytes())
        return digest.hexdigest()

    def part(self, start: int, stop: int) -> str | None:
        """What decides these images, where the source can tell; see ``known_part``."""
        digest = hashlib.sha256(b"subset\0")
        for index in self._indices[start:stop]:
            part = known_part(self._source, index, index + 1)
            if part is None:
                return None
            digest.update(part.encode())
        return digest.hexdigest()

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield these images in batches; see ``Source.read``."""
        inner = [self._indices[index] for index in checked_indices(self, indices)]
        for batch in self._source.read(inner, batch_size):
            own = [self._position[index] for index in batch.indices.tolist()]
            yield replace(
                batch,
                indices=torch.tensor(own, dtype=torch.int64),
                excluded=tuple(
                    replace(one, index=self._position[one.index]) for one in batch.excluded
                ),
            )


def _key(source: Source, position: int) -> bytes:
    return hashlib.sha256(f"{source.size}:{position}".encode()).digest()
