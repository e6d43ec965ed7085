"""What a measure makes of images, for tests of measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchgen.features.extractor import Measure
from benchgen.images.source import ImageBatch


def columns_of(
    measure: Measure, images: Tensor, encoded: Sequence[bytes] | None = None
) -> dict[str, list[Any]]:
    """The columns of these images, taken as one batch."""
    batch = ImageBatch(
        indices=torch.arange(len(images)),
        images=images,
        encoded=None if encoded is None else tuple(encoded),
    )
    return {name: list(values) for name, values in measure(batch).items()}


def as_images(gray: Tensor) -> Tensor:
    """Floats ``[B, H, W]``, white = 1, rounded to gray uint8 ``[B, 3, H, W]``."""
    levels = (gray * 255).round().clamp(0, 255).to(torch.uint8)
    return levels[:, None].expand(-1, 3, -1, -1)
