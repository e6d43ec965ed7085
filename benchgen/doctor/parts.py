"""Real images in disjoint parts: the reference, a training set, a perfect generator, a reserve."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.host.loader import Host
from benchgen.images.source import Source, known_labels
from benchgen.runs.documents import SourceRecord
from benchgen.runs.sources import open_images
from benchgen.suite import Images

FEWEST = 50
_DEFAULT_N = 1000


@dataclass(frozen=True)
class Pool:
    """All real images there are, numbered through.

    ``labels`` is int64 ``[size]`` into ``classes``, or None.
    """

    name: str
    sources: tuple[Source, ...]
    record: SourceRecord
    labels: Tensor | None

    @property
    def size(self) -> int:
        return sum(source.size or 0 for source in self.sources)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.sources[0].classes

    @property
    def fingerprint(self) -> str:
        return "+".join(source.fingerprint for source in self.sources)

    def read(self, positions: Sequence[int], batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
        """The images at these positions, in batches of one size: positions and images.

        Raises:
            ImageError: If one of them cannot be read.
        """
        first = 0
        for source in self.sources:
            end = first + (source.size or 0)
            own = [position - first for position in positions if first <= position < end]
            for batch in source.read(own, batch_size) if own else ():
                for bad in batch.excluded:
                    raise ImageError(
                        f"{bad.name} cannot be used: {bad.reason}. Repair it, or remove it."
                    )
                yield [first + index for index in batch.indices.tolist()], batch.images
            first = end


@dataclass(frozen=True)
class Parts:
    """Disjoint positions in a pool, int64 each, alike in their shares of classes.

    Attributes:
        test: ``[n]``, what metrics compare with: the reference.
        train: ``[n]``, what a generator would have been trained on.
        base: ``[n]``, what a perfect generator would make; defects are planted here.
        reserve: Further such images, for defects that swap images.
        labels: int64 ``[size of the pool]``, or None.
        classes: Number of classes.
        seed: Of all drawing.
    """

    test: Tensor
    train: Tensor
    base: Tensor
    reserve: Tensor
    labels: Tensor | None
    classes: int
    seed: int

    @property
    def n(self) -> int:
        return len(self.base)


def open_pool(plugins: Host, reference: str, trust_code: bool = False) -> Pool:
    """The user's own images, or both parts of a registered reference.

    Raises:
        SuiteError, UnknownIdError: If there is no such reference.
        ImageError: If there are no images.
    """
    choice = Images(source=reference)
    source, record = open_images(plugins, choice, "reference", trust_code=trust_code)
    sources = [source]
    if record.kind == "reference":
        sources.append(open_images(plugins, choice, "reference", part="held-out")[0])
    found = [known_labels(source) for source in sources]
    labels = [one for one in found if one is not None]
    known = torch.cat(labels) if len(labels) == len(sources) else None
    return Pool(record.name, tuple(sources), record, known)


def divide(pool: Pool, n: int | None, seed: int) -> Parts:
    """Split a pool into parts of ``n`` images; what is left is the reserve.

    Images are ordered by a hash of the pool's fingerprint, the seed and their position, and
    dealt so that any run of this order holds all classes in their shares. Without ``n``: 1,000,
    or fewer where images are few; with labels a quarter goes into the reserve then.

    Raises:
        ImageError: If there are too few images.
    """
    least = FEWEST * 3
    if pool.size < least:
        raise ImageError(
            f"{pool.name} has {pool.size} images; a self-test needs at least {least}: a reference, "
            f"a training set and a perfect generator, {FEWEST} images each. Give more images."
        )
    largest = pool.size // 3
    chosen = min(_DEFAULT_N, largest if pool.labels is None else max(FEWEST, pool.size // 4))
    chosen = chosen if n is None else n
    if not FEWEST <= chosen <= largest:
        raise ImageError(
            f"n is {chosen}; the self-test takes 3 × n of the {pool.size} images of {pool.name}. "
            f"Say -n between {FEWEST} and {largest}, or give more images."
        )
    order = _order(pool, seed)
    test, train, base = (order[i * chosen : (i + 1) * chosen] for i in range(3))
    reserve = order[3 * chosen :]
    return Parts(test, train, base, reserve, pool.labels, len(pool.classes), seed)


def _order(pool: Pool, seed: int) -> Tensor:
    """A pseudo-random order of which every run holds the classes in their shares."""
    keys = [_key(pool.fingerprint, seed, position) for position in range(pool.size)]
    shuffled = torch.tensor(sorted(range(pool.size), key=keys.__getitem__))
    if pool.labels is None:
        return shuffled
    labels = pool.labels[shuffled]
    counts = torch.bincount(labels).double()
    place = torch.empty(pool.size, dtype=torch.float64)
    for label, count in enumerate(counts.tolist()):
        place[labels == label] = (torch.arange(int(count)).double() + 0.5) / max(count, 1.0)
    return shuffled[torch.argsort(place, stable=True)]


def _key(fingerprint: str, seed: int, position: int) -> bytes:
    return hashlib.sha256(f"{fingerprint}:{seed}:{position}".encode()).digest()
