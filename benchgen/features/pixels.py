"""The extractor that needs no weights: the image itself, made small."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.errors import UsageError
from benchgen.features.extractor import Extracted


def load(device: str | torch.device, size: int = 8) -> PixelFeatures:
    """The ``pixels`` extractor on a device.

    Args:
        device: Where to compute.
        size: Images are reduced to ``size`` x ``size``.

    Raises:
        UsageError: ``size`` is not a positive integer.
    """
    return PixelFeatures(device, size)


class PixelFeatures:
    """RGB values in [0, 1] of the image reduced by antialiased bilinear interpolation.

    A row holds the red plane, then green, then blue, each by rows: ``d = 3 * size**2``.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, device: str | torch.device, size: int) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UsageError(f"pixels: size is {size!r}; expected a positive integer")
        self._device = torch.device(device)
        self._size = size

    @property
    def d(self) -> int:
        return 3 * self._size**2

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {
            "network": "pixels",
            "layer": f"rgb-{self._size}x{self._size}",
            "resize": "bilinear-antialiased",
            "arithmetic": "float32",
        }

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, d]`` in [0, 1], on the CPU."""
        side = (self._size, self._size)
        unit = images.to(self._device).float() / 255
        small = F.interpolate(unit, side, mode="bilinear", align_corners=False, antialias=True)
        return Extracted(small.flatten(1).clamp_(0, 1).cpu())
