"""Luma: what the measures that look at one channel look at."""

from __future__ import annotations

from torch import Tensor

WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue, by Rec. ITU-R BT.601."""


def luma(images: Tensor) -> Tensor:
    """Luma of uint8 ``[B, 3, H, W]``: float64 ``[B, H, W]``, white = 1.

    Equal pixels have equal luma to the last bit, wherever they are in a batch: the weighted sums
    are integers, hence exact.
    """
    red, green, blue = images.double().unbind(dim=1)
    return (299 * red + 587 * green + 114 * blue) / 255_000
