"""The one place that turns what a generator or an array holds into uint8 RGB images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Field = Literal["shape", "dtype", "range", "finite"]

QUANTISATION = "uint8 RGB, floats rounded to nearest"
"""How pixels are made; part of every fingerprint."""


class PixelError(ValueError):
    """Images that break the contract; the caller adds whose they are.

    Attributes:
        field: What is wrong with them.
        index: The first bad position in the batch, or None where the whole batch is wrong.
    """

    def __init__(self, field: Field, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.index = index


def to_uint8(images: Tensor) -> Tensor:
    """Convert a batch to uint8 RGB.

    uint8 passes through; floats are scaled by 255 and rounded to nearest (ties to even), never
    truncated. Gray images become RGB by repetition.

    Args:
        images: ``[B, C, H, W]`` with C 1 or 3; uint8, or float (any width) in [0, 1].

    Returns:
        uint8 ``[B, 3, H, W]``, contiguous, on the device of the input.

    Raises:
        PixelError: wrong rank, channels or dtype, NaN or infinity, or values outside [0, 1].
    """
    _check_layout(images)
    if images.dtype != torch.uint8:
        _check_values(images)
        # Half precision cannot hold the products by 255; wider floats keep their own width.
        wide = images.detach().to(torch.promote_types(images.dtype, torch.float32))
        images = (wide * 255).round().to(torch.uint8)
    return images.expand(-1, 3, -1, -1).contiguous()


def _check_layout(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise PixelError(
            "dtype",
            f"found {type(images).__module__}.{type(images).__qualname__}; expected a "
            "torch.Tensor, uint8 or float in [0, 1]",
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise PixelError("dtype", f"found {images.dtype}; expected uint8, or float in [0, 1]")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise PixelError(
            "shape", f"found {list(images.shape)}; expected [B, C, H, W] with C 1 or 3"
        )


def _check_values(images: Tensor) -> None:
    flat = images.detach().flatten(1)
    finite = flat.isfinite().all(dim=1)
    if not finite.all():
        index = int((~finite).nonzero()[0, 0])
        row = flat[index]
        bad = float(row[~row.isfinite()][0])
        raise PixelError("finite", f"found {bad} at position {index}; expected numbers", index)
    inside = ((flat >= 0) & (flat <= 1)).all(dim=1)
    if not inside.all():
        index = int((~inside).nonzero()[0, 0])
        low, high = float(flat[index].min()), float(flat[index].max())
        raise PixelError(
            "range",
            f"found values from {low:g} to {high:g} at position {index}; expected floats in "
            "[0, 1] (clamp them, or return uint8)",
            index,
        )
