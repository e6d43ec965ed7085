"""Where a sampler's randomness comes from: noise of its own for each image of a batch.

Samplers take an object of this shape instead of drawing from a global state, so that whoever
calls them decides what an image depends on.
"""

from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """Noise for a batch of B images, already on the device to compute on.

    Each stream is drawn once; a sampler with steps takes ``stream=step``.
    """

    def __len__(self) -> int:
        """B."""
        ...

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal, float32 [B, *shape]."""
        ...

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """Uniform in [0, 1), float32 [B, *shape]."""
        ...


class SeededNoise:
    """Noise for ``count`` images, drawn in the order of the calls from one seeded generator."""

    def __init__(self, count: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self._count = count
        self._generator = torch.Generator().manual_seed(seed)
        self._device = torch.device(device)

    def __len__(self) -> int:
        return self._count

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal, float32 [B, *shape]."""
        return torch.randn(self._count, *shape, generator=self._generator).to(self._device)

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """Uniform in [0, 1), float32 [B, *shape]."""
        return torch.rand(self._count, *shape, generator=self._generator).to(self._device)
