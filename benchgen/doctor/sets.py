"""The feature rows of every set: no image passes the extractor twice, none is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchgen.doctor.defects import ImageDefect, SetDefect
from benchgen.doctor.parts import Parts, Pool
from benchgen.doctor.swaps import CannotPlantError
from benchgen.errors import PluginError, blamed
from benchgen.metrics.base import TensorFeatures
from benchgen.runs.chosen import Reader
from benchgen.runs.passes import Observer

Rows = Literal["features", "logits"]
PROGRESS = "images"


@dataclass(frozen=True)
class ImageSet:
    """What an extractor makes of the images of one set, ``[n, d]`` and ``[n, K]``."""

    features: Tensor
    logits: Tensor | None
    strata: Tensor | None

    def rows(self, kind: Rows) -> TensorFeatures:
        """What a metric reads; shares of classes are by design wherever there are labels."""
        rows = self.features if kind == "features" else self.logits
        assert rows is not None  # metrics on logits are not run without a classifier
        return TensorFeatures(rows, self.strata)


@dataclass(frozen=True)
class Planted:
    """A defect with the set of each strength, or the reason why there is none."""

    defect: ImageDefect | SetDefect
    sets: Mapping[float, ImageSet | str]


@dataclass(frozen=True)
class Sets:
    """Everything that metrics read."""

    test: ImageSet
    train: ImageSet
    base: ImageSet
    planted: tuple[Planted, ...]
    example: Tensor
    """The first image of the base, uint8 ``[3, H, W]``."""


def make_sets(
    pool: Pool,
    parts: Parts,
    defects: Sequence[ImageDefect | SetDefect],
    reader: Reader,
    batch_size: int,
    observer: Observer,
) -> Sets:
    """Plant every defect at every strength, and extract.

    Raises:
        ImageError: If an image cannot be read.
        PluginError: If the extractor fails.
    """
    swapped = {d.id: _swapped(d, parts) for d in defects if isinstance(d, SetDefect)}
    extra = [p for sets in swapped.values() for p in sets.values() if isinstance(p, Tensor)]
    plain = torch.unique(torch.cat([parts.test, parts.train, *extra]))
    plain = plain[~torch.isin(plain, parts.base)].tolist()
    per_image = [d for d in defects if isinstance(d, ImageDefect)]
    steps = [(d, strength) for d in per_image for strength in d.strengths_for(parts)]
    observer.begin(PROGRESS, len(plain) + parts.n * (1 + len(steps)), 0)

    known = _Rows.empty(pool, reader)
    altered = {step: _Rows.empty(pool, reader) for step in steps}
    example: Tensor | None = None
    for positions, images in pool.read(plain, batch_size):
        known.add(positions, images)
        observer.advance(PROGRESS, len(positions))
    for positions, images in pool.read(parts.base.tolist(), batch_size):
        known.add(positions, images)
        if int(parts.base[0]) in positions:
            example = images[positions.index(int(parts.base[0]))].clone()
        for (defect, strength), rows in altered.items():
            rows.add(positions, defect.apply(images, strength, positions, parts.seed))
        observer.advance(PROGRESS, len(positions) * (1 + len(steps)))
    observer.end(PROGRESS)
    assert example is not None

    def of(positions: Tensor, rows: _Rows = known) -> ImageSet:
        strata = None if parts.labels is None else parts.labels[positions]
        return ImageSet(*rows.at(positions), strata)

    def sets_of(defect: ImageDefect | SetDefect) -> Iterator[tuple[float, ImageSet | str]]:
        for strength in defect.strengths_for(parts):
            if isinstance(defect, ImageDefect):
                yield strength, of(parts.base, altered[defect, strength])
            else:
                found = swapped[defect.id][strength]
                yield strength, found if isinstance(found, str) else of(found)

    planted = tuple(Planted(defect, dict(sets_of(defect))) for defect in defects)
    return Sets(of(parts.test), of(parts.train), of(parts.base), planted, example)


def _swapped(defect: SetDefect, parts: Parts) -> dict[float, Tensor | str]:
    """The positions of each strength, or why it cannot be planted."""
    found: dict[float, Tensor | str] = {}
    for strength in defect.strengths_for(parts):
        try:
            found[strength] = defect.select(parts, strength)
        except CannotPlantError as error:
            found[strength] = str(error)
    return found


@dataclass
class _Rows:
    """Rows that come in any order, kept by position in the pool."""

    reader: Reader
    place: Tensor
    features: list[Tensor]
    logits: list[Tensor]
    count: int = 0

    @classmethod
    def empty(cls, pool: Pool, reader: Reader) -> _Rows:
        return cls(reader, torch.full((pool.size,), -1), [], [])

    def add(self, positions: list[int], images: Tensor) -> None:
        who = f"extractor {self.reader.registered.id}"
        with blamed(who):
            found = self.reader.read(images)
        if len(found.features) != len(positions):
            raise PluginError(
                f"{who} returned {len(found.features)} rows for {len(positions)} images"
            )
        self.place[positions] = torch.arange(self.count, self.count + len(positions))
        self.count += len(positions)
        self.features.append(found.features.float())
        if self.reader.classes:
            self.logits.append(found.logits.float())

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and logits of these positions, in their order."""
        self.features = [torch.cat(self.features)]
        self.logits = [torch.cat(self.logits)] if self.logits else []
        places = self.place[positions]
        return self.features[0][places], self.logits[0][places] if self.logits else None
