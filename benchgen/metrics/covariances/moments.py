"""Mean and covariance of feature rows: streamed, exact and mergeable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, checked_blocks


@dataclass(frozen=True)
class Moments:
    """Count, mean ``[d]`` and sum of centred outer products ``M2`` ``[d, d]``, in float64."""

    n: int
    mean: Tensor
    M2: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Moments of rows ``[n, d]`` with n ≥ 1."""
        values = rows.double()
        mean = values.mean(dim=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance ``[d, d]`` (divided by n - 1)."""
        return self.M2 / (self.n - 1)

    def merge(self, other: Moments) -> Moments:
        """Moments of both samples together, without loss (Chan, Golub & LeVeque 1979)."""
        n = self.n + other.n
        step = other.mean - self.mean
        mean = self.mean + step * (other.n / n)
        spread = torch.outer(step, step) * (self.n * other.n / n)
        return Moments(n, mean, self.M2 + other.M2 + spread)


def moments(features: FeatureSet, name: str = "features") -> Moments:
    """Stream over the blocks of a feature set ``[n, d]`` and merge their float64 moments.

    Raises:
        MetricError: If there are fewer than two rows, a row holds a NaN or an infinity, or the
            covariance overflows float64.
    """
    if features.n < 2:
        raise MetricError(f"{name} holds {features.n} row(s); a covariance needs at least 2 images")
    start: Tensor | None = None
    for block in checked_blocks(features, name):
        rows = block.double()
        if start is None:
            # Near the mean, so that nothing is lost when the rest of the way is taken off.
            start = rows.mean(dim=0)
            total = torch.zeros_like(start)
            M2 = torch.zeros(len(start), len(start), dtype=rows.dtype, device=rows.device)  # noqa: N806
        centred = rows - start
        total += centred.sum(dim=0)
        M2.addmm_(centred.T, centred)
    if start is None:
        raise MetricError(f"{name} yields no blocks though it declares {features.n} rows")
    step = total / features.n
    M2.addr_(step, step, alpha=-features.n)
    if not torch.isfinite(M2.sum()):
        raise MetricError(f"the covariance of {name} overflows float64; rescale the features")
    return Moments(features.n, start + step, M2)
