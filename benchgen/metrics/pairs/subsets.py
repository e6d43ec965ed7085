"""How other tools draw the subsets over which they average a kernel distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError

CONVENTIONS = ("torch-fidelity", "clean-fid", "torchmetrics")


@dataclass(frozen=True)
class Subsets:
    """``count`` random subsets of ``size`` images on each side, without replacement.

    Attributes:
        count: Number of subsets.
        size: Images in each.
        seed: Seed of the draws.
        generator: ``"numpy"``: ``RandomState``, the generated images first (torch-fidelity,
            clean-fid). ``"torch"``: ``torch.randperm``, the real ones first (torchmetrics).
        shrink: Whether a smaller sample makes smaller subsets (clean-fid), or is refused.
    """

    count: int
    size: int
    seed: int
    generator: Literal["numpy", "torch"] = "numpy"
    shrink: bool = False

    def __post_init__(self) -> None:
        if self.count < 2:
            raise MetricError(
                f"kid: subsets is {self.count}; use 2 or more, or None for the exact estimate"
            )
        if self.size < 2:
            raise MetricError(f"kid: subset_size is {self.size}; use 2 or more")

    @classmethod
    def following(cls, convention: str | None, count: int, size: int, seed: int) -> Subsets:
        """The subsets of a convention, or our own (which are those of torch-fidelity)."""
        generator: Literal["numpy", "torch"] = "torch" if convention == "torchmetrics" else "numpy"
        return cls(count, size, seed, generator, shrink=convention == "clean-fid")

    def require_enough(self, n: int, name: str) -> None:
        """Refuse a side that is smaller than a subset.

        Raises:
            MetricError: Naming the largest valid size.
        """
        if n < self.size and not self.shrink:
            raise MetricError(
                f"kid: subset_size is {self.size} but {name} holds {n} images; "
                f"the largest valid size is {n}, or use subsets=None for the exact estimate"
            )

    def draws(self, n: int, m: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices of the generated and of the real images of each subset."""
        size = min(n, m, self.size)
        if self.generator == "torch":
            generator = torch.Generator().manual_seed(self.seed)
            for _ in range(self.count):
                real = torch.randperm(m, generator=generator)[:size]
                yield torch.randperm(n, generator=generator)[:size], real
        else:
            random = np.random.RandomState(self.seed)
            for _ in range(self.count):
                fake = torch.from_numpy(random.choice(n, size, replace=False))
                yield fake, torch.from_numpy(random.choice(m, size, replace=False))
