"""Sums over all pairs of a kernel between two samples, a tile at a time.

Kernels here are k - 1, not k: a constant changes no kernel discrepancy, and without it nothing is
lost to rounding where every k is close to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from benchgen.arithmetic import products

_TILE = 1536
_EXACT_WORK = 2**30
_SAMPLED_PAIRS = 512
_ROUNDS = 4


@dataclass(frozen=True)
class Points:
    """Rows ``[n, d]`` as a kernel takes them, the factor that it took out, and int64 labels."""

    rows: Tensor
    factor: float
    strata: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, dtype: torch.dtype) -> Points:
        return Points(self.rows.to(dtype), self.factor, self.strata)


class PairKernel(Protocol):
    """A kernel that depends on products of rows."""

    @property
    def single(self) -> bool:
        """Whether float32 tiles are exact enough where there are many pairs."""
        ...

    def scaled(self, rows: Tensor, name: str) -> tuple[Tensor, float]:
        """Rows ``[n, d]`` brought to a size that float32 can hold, and the factor taken out."""
        ...

    def apply(self, products: Tensor, factor: float, d: int) -> tuple[Tensor, float]:
        """From products of scaled rows to (k - 1)/unit, and the unit; products may be overwritten.

        ``factor`` is the product of both sides' factors.
        """
        ...


@dataclass(frozen=True)
class Within:
    """Means of k - 1 over pairs of different rows of one sample.

    Attributes:
        row_means: float64 ``[n]``; pairs of one stratum weigh more, by n_k/(n_k - 1), so that their
            mean is unbiased for images drawn with fixed shares of each stratum.
        excess: What pairing each image with itself as well would add to the mean over the pairs
            of one stratum.
    """

    row_means: Tensor
    excess: float

    @property
    def mean(self) -> float:
        return float(self.row_means.mean())


def within(x: Points, kernel: PairKernel) -> Within:
    """Means over pairs of different rows; each unordered pair is computed once."""
    n = len(x)
    x = x.to(_precision(kernel, n, n, x.rows))
    sums = torch.zeros(n, dtype=torch.float64)
    own = torch.zeros(n, dtype=torch.float64)
    stratified = int(x.strata.max()) > 0
    diagonal = 0.0
    for i, j in _tiles(n, n):
        if j.start < i.start:
            continue
        tile, unit = _tile(x, i, x, j, kernel)
        if i == j:
            diagonal += float(tile.diagonal().sum(dtype=torch.float64)) * unit
            tile.fill_diagonal_(0.0)
        _add_sums(sums, i, sums, j, tile, unit)
        if stratified and _overlap(x.strata[i], x.strata[j]):
            same = x.strata[i, None] == x.strata[None, j]
            _add_sums(own, i, own, j, tile * same.to(tile), unit)
    counts = torch.bincount(x.strata)[x.strata].double()
    own_means = (own if stratified else sums) / (counts - 1)
    return Within((sums + own_means) / n, (diagonal / n - float(own_means.mean())) / n)


def between(x: Points, y: Points, kernel: PairKernel) -> tuple[Tensor, Tensor]:
    """Means of k - 1 of each row with all rows of the other sample, float64 ``[n]`` and ``[m]``."""
    n, m = len(x), len(y)
    dtype = _precision(kernel, n, m, x.rows)
    x, y = x.to(dtype), y.to(dtype)
    rows = torch.zeros(n, dtype=torch.float64)
    columns = torch.zeros(m, dtype=torch.float64)
    for i, j in _tiles(n, m):
        tile, unit = _tile(x, i, y, j, kernel)
        _add_sums(rows, i, columns, j, tile, unit)
    return rows / m, columns / n


def interaction(x: Points, y: Points | None, kernel: PairKernel) -> float | None:
    """Variance of the doubly centred kernel, between two samples or (y None) within one.

    From contrasts k(x, y) - k(x', y) - k(x, y') + k(x', y') of two rows of one stratum on each
    side, whose mean square is four times that variance, at any number of images. Samples are best
    of ``sampled_pairs``.

    Returns:
        None where there are too few rows of one stratum.
    """
    other = x if y is None else y
    dtype = _precision(kernel, len(x), len(other), x.rows)
    left, right = x.to(dtype), other.to(dtype)
    tile, unit = _tile(left, slice(None), right, slice(None), kernel)
    generator = torch.Generator().manual_seed(1)
    squares, count = 0.0, 0
    for _ in range(max(1, min(_ROUNDS, 2 * _SAMPLED_PAIRS // len(x)))):
        across = _pairs(x.strata, generator).to(tile.device)
        along = across if y is None else _pairs(y.strata, generator).to(tile.device)
        contrasts = tile[across[:, 0]] - tile[across[:, 1]]
        contrasts = contrasts[:, along[:, 0]] - contrasts[:, along[:, 1]]
        if y is None:
            contrasts.fill_diagonal_(0.0)
        count += contrasts.numel() - (len(across) if y is None else 0)
        squares += float(contrasts.square_().sum(dtype=torch.float64))
    return squares / (4 * count) * unit**2 if count else None


def signed_sums(
    x: Points, y: Points | None, kernel: PairKernel, by_x: Tensor, by_y: Tensor
) -> Tensor:
    """Sums ``[S]`` of the centred kernel over all pairs, each image with its sign, of variance 1.

    Args:
        x, y: Two samples; with y None, pairs of different rows of x are taken.
        kernel: The kernel.
        by_x, by_y: Signs of the rows, float64 ``[n, S]`` and ``[m, S]``.

    Returns:
        Zeros where the kernel does not vary.
    """
    other = x if y is None else y
    tile, _ = _tile(x.to(torch.float64), slice(None), other.to(torch.float64), slice(None), kernel)
    tile = _centred(_centred(tile, x.strata).T, other.strata).T
    if y is None:
        tile = tile.clone().fill_diagonal_(0.0)
    # Of one sample each pair is there twice.
    size = (float(tile.square().sum()) * (2 if y is None else 1)) ** 0.5
    sums = (by_x.to(tile.device) * (tile @ by_y.to(tile.device))).sum(dim=0).cpu()
    return sums / size if size > 0 else torch.zeros_like(sums)


def _centred(values: Tensor, strata: Tensor) -> Tensor:
    """Rows ``[n, m]`` less the mean row of their stratum."""
    _, labels = torch.unique(strata, return_inverse=True)
    labels = labels.to(values.device)
    means = values.new_zeros(int(labels.max()) + 1, values.shape[1]).index_add_(0, labels, values)
    return values - (means / torch.bincount(labels)[:, None])[labels]


def sampled_pairs(strata: Tensor) -> Tensor:
    """Rows for ``interaction``: all of them, or 1024 random pairs, each of one stratum."""
    if len(strata) <= 2 * _SAMPLED_PAIRS:
        return torch.arange(len(strata))
    generator = torch.Generator().manual_seed(0)
    return _pairs(strata, generator)[:_SAMPLED_PAIRS].flatten()


def shuffled_by_stratum(strata: Tensor, generator: torch.Generator) -> Tensor:
    """Indices that sort by stratum, in random order within each."""
    order = torch.randperm(len(strata), generator=generator)
    return order[torch.argsort(strata[order], stable=True)]


def few_pairs(n: int, m: int, d: int) -> bool:
    """Whether n x m pairs of rows of d columns are so few that float64 costs little."""
    return n * m * d <= _EXACT_WORK


def _pairs(strata: Tensor, generator: torch.Generator) -> Tensor:
    """Disjoint random pairs of one stratum each, int64 ``[p, 2]``, in random order."""
    order = shuffled_by_stratum(strata, generator)
    labels = strata[order]
    counts = torch.bincount(labels)
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels]
    paired = order[rank < (counts - counts % 2)[labels]].reshape(-1, 2)
    return paired[torch.randperm(len(paired), generator=generator)]


def _precision(kernel: PairKernel, n: int, m: int, rows: Tensor) -> torch.dtype:
    few = few_pairs(n, m, rows.shape[1])
    return torch.float64 if few or not kernel.single else torch.float32


def _tiles(n: int, m: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, _TILE):
        for j in range(0, m, _TILE):
            yield slice(i, min(i + _TILE, n)), slice(j, min(j + _TILE, m))


def _tile(x: Points, i: slice, y: Points, j: slice, kernel: PairKernel) -> tuple[Tensor, float]:
    factor = x.factor * y.factor
    return kernel.apply(products(x.rows[i], y.rows[j]), factor, x.rows.shape[1])


def _add_sums(rows: Tensor, i: slice, columns: Tensor, j: slice, tile: Tensor, unit: float) -> None:
    """Add the tile's row sums, and its column sums unless it lies on the diagonal."""
    rows[i] += (tile @ tile.new_ones(tile.shape[1])).cpu().double() * unit
    if rows is not columns or i != j:
        columns[j] += (tile.new_ones(tile.shape[0]) @ tile).cpu().double() * unit


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two stretches of sorted labels can share one."""
    return bool(a[-1] >= b[0] and b[-1] >= a[0])
