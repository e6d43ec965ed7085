"""The contracts of extractors (image to feature row) and measures (image to named columns)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from benchgen.images.source import ImageBatch


@dataclass(frozen=True)
class Extracted:
    """What an extractor returns for a batch: float32 rows ``[B, d]`` and logits ``[B, K]``."""

    features: Tensor
    logits: Tensor | None = None


class Extractor(Protocol):
    """Turns images into feature rows; each row depends on its own image alone.

    One that computes in a faster arithmetic than float32 may have an attribute ``drift``: how far
    that was found to move the rows, over their spread; None before it was measured. Runs tell it.
    """

    @property
    def d(self) -> int:
        """Width of a feature row."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the logits score; empty if it has no classifier."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """All that decides the rows: weights hash, layer, resize rule, arithmetic mode."""
        ...

    def __call__(self, images: Tensor) -> Extracted:
        """Take uint8 ``[B, 3, H, W]`` on the CPU; return float32 rows on the CPU."""
        ...


class Measure(Protocol):
    """Turns images into named columns: attribute labels, sharpness, provenance."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """All that decides the columns."""
        ...

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """Return, for each column, one value per image of the batch."""
        ...
