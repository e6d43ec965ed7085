"""The generator behind the row `noise`: uniform random pixels, the floor of every comparison."""

from __future__ import annotations

from torch import Tensor

from benchgen.images.generated import SampleBatch


class UniformNoise:
    """Images whose every pixel is uniform in [0, 1), independent of all others."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.shape = (channels, height, width)

    def sample(self, batch: SampleBatch) -> Tensor:
        """Return float32 ``[B, C, H, W]`` in [0, 1)."""
        return batch.uniform(*self.shape)
