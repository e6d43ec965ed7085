"""Training images in memory, in an order of their own, and the held-out part of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.errors import UsageError

MOST_FOR_VALIDATION = 2_000


@dataclass(frozen=True)
class TrainingImages:
    """Images of one size.

    Attributes:
        images: uint8 ``[N, C, H, W]``, C 1 or 3.
        labels: int64 ``[N]`` into ``classes``, or None.
        classes: Names; empty without labels.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def part(self, start: int, stop: int) -> TrainingImages:
        """The images from ``start`` up to, not including, ``stop``."""
        labels = None if self.labels is None else self.labels[start:stop]
        return TrainingImages(self.images[start:stop], labels, self.classes)

    def as_float(self) -> Tensor:
        """The images as float32 in [0, 1]."""
        return self.images.float() / 255

    def unlabelled(self) -> TrainingImages:
        """The same without labels."""
        return TrainingImages(self.images, None)


@dataclass(frozen=True)
class Splits:
    """Two disjoint parts of some images; ``fingerprint`` decides both, their labels and order."""

    training: TrainingImages
    validation: TrainingImages
    fingerprint: str


def split(images: TrainingImages, validation: int | None = None) -> Splits:
    """The last ``validation`` images by hash are held out; the others are trained on.

    Args:
        images: In any order.
        validation: How many to hold out; 2,000 or a tenth, whichever is less, unless given.

    Raises:
        UsageError: That leaves fewer than two images on a side.
    """
    count = min(MOST_FOR_VALIDATION, len(images) // 10) if validation is None else validation
    border = len(images) - count
    if min(count, border) < 2:
        raise UsageError(
            f"of {len(images):,} images {count:,} would be held out for validation and {border:,} "
            "trained on; each takes at least 2. Give more images, or another --validation"
        )
    ordered, fingerprint = by_hash(images)
    whole = hashlib.sha256(f"{fingerprint}\0{count}".encode()).hexdigest()
    return Splits(ordered.part(0, border), ordered.part(border, len(images)), whole)


def by_hash(images: TrainingImages) -> tuple[TrainingImages, str]:
    """The images in the order of the hashes of their pixels, and a sha256 (hex) of it all.

    So copies of a data set whose files or rows are in another order train the same models.
    """
    labels = [-1] * len(images) if images.labels is None else images.labels.tolist()
    keys = [(pixel_hash(image), label) for image, label in zip(images.images, labels, strict=True)]
    order = sorted(range(len(images)), key=keys.__getitem__)
    digest = hashlib.sha256("\0".join(map(str, (*images.shape, *images.classes))).encode())
    for row in order:
        digest.update(keys[row][0] + keys[row][1].to_bytes(8, "little", signed=True))
    rows = torch.tensor(order, dtype=torch.int64)
    own = None if images.labels is None else images.labels[rows]
    return TrainingImages(images.images[rows], own, images.classes), digest.hexdigest()


def pixel_hash(image: Tensor) -> bytes:
    """SHA-256 of the pixels of one uint8 image ``[C, H, W]``, in row-major order."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
