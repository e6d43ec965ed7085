"""The generator behind the row `noise`: uniform random pixels, the floor of every comparison."""

from __future__ import annotations

import math

from torch import Tensor

from benchgen.images.generated import SampleBatch


class UniformNoise:
    """Images whose every pixel is uniform in [0, 1), independent of all others."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.shape = (channels, height, width)

    def sample(self, batch: SampleBatch) -> Tensor:
        """Return float32 ``[B, C, H, W]`` in [0, 1)."""
        return batch.uniform(*self.shape)

    def log_likelihood(self, images: Tensor, batch: SampleBatch) -> Tensor:
        """Return float64 ``[B]``, in nats.

        Rounding gives each of the 256 grey levels 1/255, but the two ends half of that.
        """
        ends = ((images == 0) | (images == 255)).flatten(1).sum(dim=1).double()
        return -(images[0].numel() * math.log(255) + ends * math.log(2))
