"""Kernel distance: squared maximum mean discrepancy under a cubic kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    Strata,
    TensorFeatures,
    all_rows,
    require_convention,
    require_real,
    require_same_width,
)

_TILE = 2048


class Kernel:
    """``kid`` (Bińkowski et al. 2018, arXiv:1801.01401): unbiased MMD², k(x, y) = (x·y/d + 1)³.

    All arithmetic is float64, in tiles; nothing n x n is held.

    Args:
        subsets: None for the exact estimate over all pairs; otherwise the mean over this many
            random subsets without replacement. The convention's default is 100.
        subset_size: Images in each subset.
        seed: Seed of the draws.
        convention: ``"torch-fidelity"`` uses subsets, drawn in that tool's order.

    Raises:
        MetricError: If a parameter is out of range or the convention is unknown.
    """

    def __init__(
        self,
        subsets: int | None = None,
        subset_size: int = 1000,
        seed: int = 2020,
        convention: str | None = None,
    ) -> None:
        require_convention(convention, ("torch-fidelity",), "kid")
        self._subsets = 100 if subsets is None and convention == "torch-fidelity" else subsets
        self._subset_size = subset_size
        self._seed = seed
        if self._subsets is not None and self._subsets < 2:
            raise MetricError(
                f"kid: subsets is {self._subsets}; use 2 or more, or None for the exact estimate"
            )
        if subset_size < 2:
            raise MetricError(f"kid: subset_size is {subset_size}; use 2 or more")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many subsets of which size and seed; the exact estimate has no others."""
        if self._subsets is None:
            return {"subsets": None}
        return {
            "subsets": self._subsets,
            "subset_size": self._subset_size,
            "seed": self._seed,
        }

    def prepare(self, real: FeatureSet | None) -> _Reference:
        """Kernel sums within the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it is too small, or a row is bad.
        """
        features = require_real(real, "kid")
        self._require_enough(features.n, "real")
        rows = all_rows(features, "real")
        return _Reference(features, rows, _within(rows, Strata.of(features)))

    def compute(self, prepared: _Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``kid``.

        Raises:
            MetricError: If ``fake`` has other columns, is too small, or a row is bad.
        """
        require_same_width(fake, prepared.features)
        self._require_enough(fake.n, "fake")
        x, y = all_rows(fake, "fake"), prepared.rows
        own, other = Strata.of(fake), Strata.of(prepared.features)
        xx, yy, xy = _within(x, own), prepared.within, _between(x, y, own, other)
        value = xx.mean + yy.mean - 2 * xy.mean
        a = 2 * (xx.row_means - xy.row_means)
        b = 2 * (yy.row_means - xy.column_means)
        a, b = own.centred(a), other.centred(b)
        extra = _second_order(xx, yy, xy, float(a.var() / len(a) + b.var() / len(b)))
        details: dict[str, float] = {}
        if self._subsets is not None:
            draws = self._draws(x, y, self._subsets)
            value = float(draws.mean())
            details = {"subset_std": float(draws.std())}
            extra += float(draws.var(ddof=1)) / self._subsets
        notes = (
            ("a negative value is correct: the estimate is unbiased, also around zero",)
            if value < 0
            else ()
        )
        return {"kid": Score(value, a, b, extra, details, notes)}

    def _require_enough(self, n: int, name: str) -> None:
        if n < 2:
            raise MetricError(f"kid: {name} holds {n} row(s); give at least 2 images on each side")
        if self._subsets is not None and n < self._subset_size:
            raise MetricError(
                f"kid: subset_size is {self._subset_size} but {name} holds {n} images; "
                f"the largest valid size is {n}, or use subsets=None for the exact estimate"
            )

    def _draws(self, x: Tensor, y: Tensor, subsets: int) -> np.ndarray:
        random = np.random.RandomState(self._seed)
        values = np.zeros(subsets)
        for i in range(subsets):
            part_x = x[torch.from_numpy(random.choice(len(x), self._subset_size, replace=False))]
            part_y = y[torch.from_numpy(random.choice(len(y), self._subset_size, replace=False))]
            within = _within(part_x).mean + _within(part_y).mean
            values[i] = within - 2 * _between(part_x, part_y).mean
        return values


@dataclass(frozen=True)
class _Reference:
    features: FeatureSet
    rows: Tensor
    within: _KernelMeans


@dataclass(frozen=True)
class _KernelMeans:
    """Means of a kernel matrix, and the variance of its doubly centred entries.

    Means weigh the strata of rows and columns by their shares, and the centring is by stratum;
    where there is one stratum, these are the plain means over all pairs.
    """

    row_means: Tensor
    column_means: Tensor
    mean: float
    interaction: float


def _within(x: Tensor, strata: Strata | None = None) -> _KernelMeans:
    """Means over pairs of different rows of ``x`` ``[n, d]``."""
    n = len(x)
    strata = strata or Strata.of(TensorFeatures(x))
    members = strata.members.to(x.device)
    sums = torch.zeros(n, members.shape[1], dtype=torch.float64, device=x.device)
    squares = 0.0
    for i, j in _tiles(n, n):
        if j.start < i.start:
            continue
        tile = _kernel(x[i], x[j])
        if i == j:
            tile.fill_diagonal_(0.0)
        else:
            sums[j] += tile.T @ members[i]
        sums[i] += tile @ members[j]
        squares += float(tile.square().sum()) * (1 if i == j else 2)
    means = (sums / (members.sum(dim=0) - members)).cpu()
    return _means(means, means, squares / (n * (n - 1)), strata, strata)


def _between(
    x: Tensor, y: Tensor, own: Strata | None = None, other: Strata | None = None
) -> _KernelMeans:
    """Means over all pairs of a row of ``x`` ``[n, d]`` and one of ``y`` ``[m, d]``."""
    n, m = len(x), len(y)
    own = own or Strata.of(TensorFeatures(x))
    other = other or Strata.of(TensorFeatures(y))
    left, right = own.members.to(x.device), other.members.to(x.device)
    rows = torch.zeros(n, right.shape[1], dtype=torch.float64, device=x.device)
    columns = torch.zeros(m, left.shape[1], dtype=torch.float64, device=x.device)
    squares = 0.0
    for i, j in _tiles(n, m):
        tile = _kernel(x[i], y[j])
        rows[i] += tile @ right[j]
        columns[j] += tile.T @ left[i]
        squares += float(tile.square().sum())
    rows, columns = rows / right.sum(dim=0), columns / left.sum(dim=0)
    return _means(rows.cpu(), columns.cpu(), squares / (n * m), own, other)


def _tiles(n: int, m: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, _TILE):
        for j in range(0, m, _TILE):
            yield slice(i, min(i + _TILE, n)), slice(j, min(j + _TILE, m))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    base = (x.double() @ y.double().T).div_(x.shape[1]).add_(1.0)
    return base * base * base


def _means(
    rows: Tensor, columns: Tensor, mean_square: float, own: Strata, other: Strata
) -> _KernelMeans:
    """From each image's means over the strata of the other side, ``[n, K]`` and ``[m, L]``."""
    blocks = own.means(rows)
    by_row = float((rows.square() @ other.shares).mean())
    by_column = float((columns.square() @ own.shares).mean())
    by_block = float(own.shares @ blocks.square() @ other.shares)
    interaction = max(0.0, mean_square - by_row - by_column + by_block)
    mean = float(own.shares @ blocks @ other.shares)
    return _KernelMeans(rows @ other.shares, columns @ own.shares, mean, interaction)


def _second_order(
    xx: _KernelMeans, yy: _KernelMeans, xy: _KernelMeans, first_order: float
) -> float:
    """What to add to the variance of the influences to get that of the estimate.

    The estimate's own second-order variance is 2ζ_xx/(n(n-1)) + 2ζ_yy/(m(m-1)) + 4ζ_xy/(nm), but
    the influences are means over the other images, whose noise enters their variance with twice
    that amount. So it is subtracted once; the total is never less than the second-order part.
    """
    n, m = len(xx.row_means), len(yy.row_means)
    own = 2 * xx.interaction / (n * (n - 1)) + 2 * yy.interaction / (m * (m - 1))
    second_order = own + 4 * xy.interaction / (n * m)
    return max(-second_order, second_order - first_order)
