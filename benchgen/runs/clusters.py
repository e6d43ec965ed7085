"""Which images of a row are not independent: those that share a prompt or a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Column = Literal["prompt", "group"]


@dataclass(frozen=True)
class Clusters:
    """The clusters of a row's images.

    Attributes:
        column: The column whose equal values make a cluster; None where each image stands alone.
        labels: The cluster of each image, or None.
        note: What a reader should know of it, or None.
    """

    column: Column | None = None
    labels: list[str] | None = None
    note: str | None = None

    def of(self, indices: Sequence[int]) -> list[str] | None:
        """The clusters of some of the images."""
        return None if self.labels is None else [self.labels[index] for index in indices]


def find_clusters(
    images: Mapping[str, Sequence[Any]], wanted: Column | Literal["none"] | None
) -> Clusters:
    """The clusters that a suite asks for; by itself those that share a prompt, where any do.

    Args:
        images: Columns of a row's images.
        wanted: What the suite says.
    """
    if wanted == "none":
        return Clusters()
    column: Column = "prompt" if wanted is None else wanted
    values = images.get(column)
    if values is None or all(value is None for value in values):
        missing = f"its images have no {column}, so errors take them as independent"
        return Clusters(note=None if wanted is None else missing)
    # An image without a value stands alone.
    labels = [f"={v}" if v is not None else f"#{at}" for at, v in enumerate(values)]
    count = len(set(labels))
    if count == len(labels):
        return Clusters()
    note = f"errors are computed over {count} clusters of {len(labels)} images ({column})"
    return Clusters(column, labels, note)


def restored(column: Column, values: Sequence[Any]) -> list[str]:
    """The labels of clusters again, from the column that a run has written."""
    found = find_clusters({column: [v if isinstance(v, str) else None for v in values]}, column)
    return found.labels or []
