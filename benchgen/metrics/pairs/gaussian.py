"""The squared Gaussian kernel of a set with itself, in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.errors import MetricError

_TILE = 2048
_MEDIAN_ROWS = 2000
# exp(-80) is nothing beside the diagonal of any set that can be held.
_NOTHING = 80.0
_EXACT_ENOUGH = 1e-9
_PAIRS = 2**22


@dataclass(frozen=True)
class SquaredKernel:
    """Means of k(x, y)² over all pairs, an image with itself included.

    Attributes:
        row_means: Of each image with all, float64 ``[n]`` on the CPU.
        mean_square: Mean of k⁴ over pairs of different images.
    """

    row_means: Tensor
    mean_square: float

    @property
    def mean(self) -> float:
        return float(self.row_means.mean())

    @property
    def pairs(self) -> float:
        """Mean over pairs of different images: unbiased."""
        n = len(self.row_means)
        return max(0.0, (self.mean * n - 1) / (n - 1)) if n > 1 else 0.0

    @property
    def interaction(self) -> float:
        """Variance of the doubly centred kernel over pairs of different images."""
        n = len(self.row_means)
        rows = (self.row_means * n - 1) / max(1, n - 1)
        by_row = float((rows - rows.mean()).square().mean())
        return max(0.0, self.mean_square - self.pairs**2 - 2 * by_row)


def squared_gaussian(rows: Tensor, sigma: float) -> SquaredKernel:
    """Means of exp(-|x - y|²/σ²), float64, over features ``[n, d]`` on any device.

    Distances come from matrix products of centred rows; where their rounding matters and the
    kernel does not vanish, they are taken again by subtraction.

    Raises:
        MetricError: If distances in units of ``sigma`` overflow.
    """
    n = len(rows)
    centre = rows.double().mean(dim=0)
    totals = torch.ones(n, dtype=torch.float64, device=rows.device)
    squares = 0.0
    for i, j in _tiles(n):
        tile = _exponents((rows[i].double() - centre) / sigma, (rows[j].double() - centre) / sigma)
        tile = tile.neg_().exp_()
        if i == j:
            tile.fill_diagonal_(0.0)
        else:
            totals[j] += tile.sum(dim=0)
        totals[i] += tile.sum(dim=1)
        squares += float(tile.square_().sum()) * (1 if i == j else 2)
    return SquaredKernel((totals / n).cpu(), squares / (n * max(1, n - 1)))


def gaussian_matrix(rows: Tensor, sigma: float) -> Tensor:
    """exp(-|x - y|²/(2σ²)) of few features ``[n, d]``: float64 ``[n, n]``."""
    scaled = (rows.double() - rows.double().mean(dim=0)) / sigma
    matrix = (-_exponents(scaled, scaled) / 2).exp()
    return matrix.fill_diagonal_(1.0)


def half_median_distance(rows: Tensor) -> float:
    """Half the median distance between two of the features ``[m, d]``, in their units.

    From all pairs of at most 2,000 rows, always the same ones.

    Raises:
        MetricError: If there is one row only, or half of all pairs are duplicates.
    """
    if len(rows) < 2:
        raise MetricError("rke: real holds 1 row; give at least 2, or sigma")
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_MEDIAN_ROWS]
    some = rows[chosen.to(rows.device)].double()
    largest = float(some.abs().max()) or 1.0
    median = float(torch.pdist(some / largest).median()) * largest / 2
    if median == 0:
        raise MetricError(
            "rke: half of all pairs of real images have equal features, so their median distance "
            "is 0 and gives no bandwidth; remove duplicates from the reference, or give sigma"
        )
    return median


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, _TILE):
        for j in range(i, n, _TILE):
            yield slice(i, min(i + _TILE, n)), slice(j, min(j + _TILE, n))


def _exponents(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances ``[a, b]`` of scaled rows, exact where the kernel shows it."""
    x_norm, y_norm = x.square().sum(dim=1), y.square().sum(dim=1)
    norms = x_norm[:, None] + y_norm
    if not torch.isfinite(norms).all():
        raise MetricError(
            "distances between features, in units of sigma, overflow float64; "
            "rescale the features or give a larger sigma"
        )
    squared = torch.addmm(norms, x, y.T, alpha=-2).clamp_min_(0)
    tolerance = norms.mul_(4 * (x.shape[1] + 4) * torch.finfo(torch.float64).eps)
    doubtful = (tolerance > _EXACT_ENOUGH) & (squared - tolerance < _NOTHING)
    if doubtful.any():
        i, j = doubtful.nonzero(as_tuple=True)
        height = max(1, _PAIRS // x.shape[1])
        for part in range(0, len(i), height):
            a, b = i[part : part + height], j[part : part + height]
            squared[a, b] = (x[a] - y[b]).square().sum(dim=1)
    return squared
