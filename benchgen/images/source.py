"""A source yields images by index: the one shape that generators, folders and data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from benchgen.errors import ImageError


@dataclass(frozen=True)
class Excluded:
    """An image that could not be used: its index, its name (a path, say) and the reason."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size, with what the source knows of them.

    Attributes:
        indices: int64 ``[B]``, the index of each image in its source.
        images: uint8 ``[B, 3, H, W]`` on the CPU.
        labels: int64 ``[B]`` into the source's ``classes``, or None.
        names: What to call each image in messages and reports (a relative path, an index).
        encoded: The file's bytes of each image, where the source has files.
        flags: What decoding had to change in each image (``benchgen.images.decode`` lists the
            words), where the source has files.
        excluded: Images among those asked for that could not be read. A batch may hold
            nothing but these (then B is 0).
        columns: What else is known of each image, as text: ``prompt``, ``group`` and further
            ones, by name; each holds B values, None where there is none.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    encoded: tuple[bytes, ...] | None = None
    flags: tuple[tuple[str, ...], ...] | None = None
    excluded: tuple[Excluded, ...] = ()
    columns: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)


class Source(Protocol):
    """Anything that yields images by index."""

    @property
    def name(self) -> str:
        """A short name for messages and reports."""
        ...

    @property
    def size(self) -> int | None:
        """How many images there are; None if without end."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that labels point into; empty if there are no labels."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over everything that decides the images, their order and labels."""
        ...

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield the images at these indices, each once, in batches of one image size each.

        Batches follow the order of the indices as far as sizes allow. Unreadable images are
        yielded as ``excluded``, never skipped silently.
        """
        ...


def known_labels(source: Source) -> Tensor | None:
    """The labels that a source knows without reading images, or None.

    Such a source has an attribute ``labels``: int64 ``[size]`` into ``classes``, or None.
    """
    labels: Tensor | None = getattr(source, "labels", None)
    return labels


def known_part(source: Source, start: int, stop: int) -> str | None:
    """sha256 (hex) over all that decides the images ``start`` to ``stop - 1``, or None.

    Such a source has a method ``part(start, stop)``. It changes with these images, their names,
    labels and columns, and with nothing else: where one image of a folder changed, the parts
    without it stay what they were, and so does what was computed of them.

    Raises:
        ImageError: The range is not one of indices of the source.
    """
    part: Callable[[int, int], str | None] | None = getattr(source, "part", None)
    return None if part is None else part(start, stop)


def is_stratified(source: Source, n: int) -> bool:
    """Whether the first ``n`` images hold so many of each label by design, not by chance.

    Such a source has an attribute ``stratified``. A part of a finite one is drawn by chance
    again; one without end keeps its shares at any ``n``.
    """
    return bool(getattr(source, "stratified", False)) and source.size in (None, n)


def checked_indices(source: Source, indices: Sequence[int]) -> list[int]:
    """The indices as plain ints.

    Raises:
        ImageError: one of them is negative or lies beyond the end of the source.
    """
    checked = [int(index) for index in indices]
    for index in checked:
        if index < 0 or (source.size is not None and index >= source.size):
            raise ImageError(
                f"{source.name}: image {index} was asked for, but there are {source.size} "
                f"(indices from 0); ask for fewer images or give more"
            )
    return checked
