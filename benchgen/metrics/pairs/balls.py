"""Nearest-neighbour balls of one set of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchgen.metrics.pairs.distances import shortlists

Boundary = Literal["<=", "<"]


@dataclass(frozen=True)
class Balls:
    """Points, each with a ball that reaches to its k-th nearest neighbour.

    Attributes:
        points: Feature rows ``[m, d]``, as stored.
        k: Which neighbour the ball reaches to.
        neighbours: The nearest other points of each point, int64 ``[m, l]``, l ≥ k.
        squared: Their squared distances, float64 ``[m, l]``, ascending. The k-th is exact, the
            others carry the rounding of a matrix product.
    """

    points: Tensor
    k: int
    neighbours: Tensor
    squared: Tensor

    @property
    def radii(self) -> Tensor:
        """Squared radii ``[m]``."""
        return self.squared[:, self.k - 1]

    @property
    def next_radii(self) -> Tensor:
        """Squared radii ``[m]`` once one of the k neighbours is gone."""
        return self.squared[:, min(self.k, self.squared.shape[1] - 1)]

    @property
    def reach(self) -> Tensor:
        """Squared distances ``[m]`` beyond which no ball of a random half of the points reaches.

        But for one ball in a thousand.
        """
        return self.squared[:, -1]


def balls(points: Tensor, k: int) -> Balls:
    """The balls of ``points`` ``[m, d]``, m > k.

    Raises:
        MetricError: If the squares of the features leave the range of float64.
    """
    # Long enough that all but one in a thousand have k neighbours listed in their own half.
    length = min(4 * k + 6, len(points) - 1)
    squared, neighbours = shortlists(
        points, points, length, exact=range(k - 1, k), exclude_self=True
    )
    return Balls(points, k, neighbours, squared)
