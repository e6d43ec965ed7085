"""Squared Euclidean distances between many rows, tile by tile, and the nearest rows.

A tile is one matrix product, in float32 where the features have many columns. Its entries are made
to lie below the true distances, by no more than a bound on all rounding; whatever the bound leaves
open is taken again in float64 by subtraction. So no answer depends on how a product was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from benchgen.arithmetic import products
from benchgen.errors import MetricError

_TILE_SIDE = 1024
_TILES_ABREAST = 4
"""Rows of so many tiles are placed at once, so that columns need not be placed for each."""

_BLOCK_ELEMENTS = 2**16
_EXACT_ELEMENTS = 2**17
_FINER_ROWS = 4096
_SPARE = 6
"""How many more candidates than neighbours are listed: those that rounding could confuse."""

_LEAST_SQUARE = 2.0**-900

_FEW_COLUMNS = 8
"""With fewer, neighbours are so near that float32 products cannot tell them apart."""


def nearest(x: Tensor, y: Tensor, k: int, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest rows of ``y`` ``[m, d]`` to each row of ``x`` ``[n, d]``.

    The answer is that of float64 subtraction, at any scale of the features: duplicates are at a
    distance of exactly zero. Works on any device that has float64, in memory linear in n and m,
    and writes into neither ``x`` nor ``y``.

    Args:
        x: Feature rows ``[n, d]``, any float type.
        y: Feature rows ``[m, d]``, any float type, on the same device.
        k: How many; at most m, or m - 1 with ``exclude_self``.
        exclude_self: ``y`` is ``x``, and row i does not count as its own neighbour.

    Returns:
        Squared distances float64 ``[n, k]``, ascending, and indices into ``y`` int64 ``[n, k]``.
        Rows at equal distance are listed in the order of ``y``; where not all of those find room,
        which of them do is arbitrary.

    Raises:
        MetricError: If there are fewer than k rows to choose from, the columns differ in number,
            or the squares of the features leave the range of float64.
    """
    length = min(k + _SPARE, len(y) - exclude_self)
    squared, indices = shortlists(x, y, length, exact=range(k), exclude_self=exclude_self)
    squared, indices = squared[:, :k], indices[:, :k]
    in_order = indices.argsort(dim=1)
    squared, indices = squared.gather(1, in_order), indices.gather(1, in_order)
    ascending = squared.argsort(dim=1, stable=True)
    return squared.gather(1, ascending), indices.gather(1, ascending)


def shortlists(
    x: Tensor, y: Tensor, length: int, *, exact: range, exclude_self: bool = False
) -> tuple[Tensor, Tensor]:
    """The ``length`` nearest rows of ``y``, of which only the ranks in ``exact`` are settled.

    As ``nearest``, but cheaper: the distances at the other ranks carry the rounding of a product,
    and so does their order.

    Raises:
        MetricError: As ``nearest`` does.
    """
    others = len(y) - exclude_self
    if not 1 <= exact.stop <= length <= others:
        raise MetricError(
            f"asked for the {max(exact.stop, length)} nearest of {others} rows; "
            f"ask for at least 1 and at most {others}"
        )
    first = Distances(x, y)
    squared, indices, settled = _settled(first, length, exact, exclude_self)
    for attempt in (_by_finer_products, _by_subtraction):
        left = (~settled).nonzero().squeeze(1)
        if len(left):
            squared[left], indices[left], settled[left] = attempt(
                first, left, length, exact, exclude_self
            )
    return squared, indices


class Distances:
    """Squared distances between the rows of ``x`` ``[n, d]`` and of ``y`` ``[m, d]``, tiled.

    Tiles are in units of their own (a power of two, so that no product overflows), and each entry
    is a lower bound: the true squared distance exceeds it by no more than ``slack``.

    Args:
        x: Feature rows ``[n, d]``. Not copied.
        y: Feature rows ``[m, d]``, on the same device. Not copied.
        dtype: Of the products; None means float32, unless d is small.

    Raises:
        MetricError: If the columns differ in number, or squares leave the range of float64.
    """

    def __init__(self, x: Tensor, y: Tensor, dtype: torch.dtype | None = None) -> None:
        if x.shape[1] != y.shape[1]:
            raise MetricError(
                f"rows of {x.shape[1]} columns have no distance to rows of {y.shape[1]}"
            )
        self.x, self.y = x, y
        self.dtype = _product_dtype(x.shape[1]) if dtype is None else dtype
        self._centre = _centre(y, x)
        self._y_norms = _squared_norms(y, self._centre)
        self._x_norms = self._y_norms if x is y else _squared_norms(x, self._centre)
        largest = max(float(self._x_norms.max()), float(self._y_norms.max()))
        self._scale = 1.0 if _all_equal(x, y, largest) else _scale(largest)
        self._x_norms = self._x_norms * self._scale**2
        self._y_norms = self._y_norms * self._scale**2
        # d sums and a few roundings more, whichever order the sums are taken in.
        self._rounding = (x.shape[1] + 16) * torch.finfo(self.dtype).eps
        self._underflow = x.shape[1] * (2.0**-100 if self.dtype == torch.float32 else 2.0**-900)

    def tiles(self, *, upper: bool = False) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows of x, rows of y, and the lower bounds ``[h, w]`` between them.

        With ``upper`` (x is y) only those on and above the diagonal. A tile is overwritten by the
        next one.
        """
        n, m, side = len(self.x), len(self.y), _TILE_SIDE
        x_bounds, y_bounds = self._lowered(self._x_norms), self._lowered(self._y_norms)
        space = torch.empty(min(n, side) * min(m, side), dtype=self.dtype, device=self.x.device)
        for top in range(0, n, _TILES_ABREAST * side):
            abreast = [
                slice(start, min(start + side, n))
                for start in range(top, min(top + _TILES_ABREAST * side, n), side)
            ]
            blocks = [self._placed(self.x[rows]) for rows in abreast]
            for left in range(top if upper else 0, m, side):
                columns = slice(left, min(left + side, m))
                across = self._placed(self.y[columns])
                for rows, block in zip(abreast, blocks, strict=True):
                    if upper and rows.start > left:
                        break
                    tile = space[: len(block) * len(across)].view(len(block), len(across))
                    torch.add(x_bounds[rows, None], y_bounds[columns], out=tile)
                    yield rows, columns, tile.sub_(products(block, across), alpha=2)

    def slack(self, row: Tensor, column: Tensor) -> Tensor:
        """What to add to the lower bounds of pairs for upper bounds, float64, in tile units."""
        norms = self._x_norms[row] + self._y_norms[column]
        return 2 * (self._rounding * norms + self._underflow)

    @property
    def likely_share_of_slack(self) -> float:
        """How much of the slack rounding really takes up: a few units, not d of them."""
        return 16 / (self.x.shape[1] + 16)

    def in_tile_units(self, squared: Tensor) -> Tensor:
        """Squared distances as thresholds for a tile: rounded up by a little, never down."""
        return (squared * (self._scale**2 * (1 + 2.0**-20))).to(self.dtype)

    def in_feature_units(self, bounds: Tensor) -> Tensor:
        """Squared distances float64 from values in tile units."""
        return bounds.double() / self._scale**2

    def exact(self, row: Tensor, column: Tensor) -> Tensor:
        """Squared distances of pairs, float64 ``[p]``, in feature units, by subtraction."""
        return exact_squared(self.x, self.y, row, column)

    def _lowered(self, norms: Tensor) -> Tensor:
        return (norms * (1 - self._rounding) - self._underflow).to(self.dtype)

    def _placed(self, rows: Tensor) -> Tensor:
        work = torch.promote_types(rows.dtype, self.dtype)
        placed = rows.to(work) - self._centre.to(work)
        if self._scale != 1:
            placed *= self._scale
        return placed.to(self.dtype)


def exact_squared(x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Squared distances float64 ``[p]`` between ``x[row]`` and ``y[column]``, by subtraction.

    Zero for duplicates, and the same whichever side a row is on.
    """
    squared = torch.empty(len(row), dtype=torch.float64, device=x.device)
    for part in _parts(len(row), x.shape[1], _EXACT_ELEMENTS):
        apart = x[row[part]].double() - y[column[part]].double()
        squared[part] = apart.square_().sum(dim=1)
    return squared


_Found = tuple[Tensor, Tensor, Tensor]
"""Squared distances and indices ``[n, length]``, and which rows are settled ``[n]``."""


def _settled(
    distances: Distances,
    length: int,
    exact: range,
    exclude_self: bool,
    own: Tensor | None = None,
) -> _Found:
    """List candidates by tiles; then settle the ranks in ``exact`` by subtraction."""
    lists = _Shortlists(len(distances.x), length, distances)
    symmetric = exclude_self and own is None
    for rows, columns, tile in distances.tiles(upper=symmetric):
        if own is not None:
            _exclude(tile, own[rows] - columns.start)
        elif symmetric and rows == columns:
            tile.fill_diagonal_(torch.inf)
        lists.offer(rows, columns.start, tile)
        if symmetric and rows != columns:
            lists.offer(columns, rows.start, tile.T)
    lower, indices = lists.sorted()
    row = torch.arange(len(lower), device=lower.device)[:, None].expand_as(lower)
    lower = lower.double()
    slack = distances.slack(row, indices)
    upper = (lower + slack).sort(dim=1).values
    least, most = lower[:, exact.start, None], upper[:, exact.stop - 1, None]
    open_ = (lower + slack >= least) & (lower <= most)
    squared = distances.in_feature_units((lower + slack / 2).clamp_min_(0))
    squared[open_] = distances.exact(row[open_], indices[open_])
    squared, order = squared.sort(dim=1)
    farthest = squared[:, exact.stop - 1]
    unseen = distances.in_feature_units(lower[:, -1])
    everything = length == len(distances.y) - exclude_self
    settled = (unseen >= farthest) | (farthest == 0) | everything
    return squared, indices.gather(1, order), settled


def _by_finer_products(
    distances: Distances, left: Tensor, length: int, exact: range, exclude_self: bool
) -> _Found:
    parts = []
    for some in left.tensor_split(-(-len(left) // _FINER_ROWS)):
        finer = Distances(distances.x[some], distances.y, torch.float64)
        parts.append(_settled(finer, length, exact, exclude_self, some if exclude_self else None))
    squared, indices, settled = (torch.cat(part) for part in zip(*parts, strict=True))
    return squared, indices, settled


def _by_subtraction(
    distances: Distances, left: Tensor, length: int, exact: range, exclude_self: bool
) -> _Found:
    every = torch.arange(len(distances.y), device=left.device)
    squared, indices = [], []
    for one in left:
        apart = distances.exact(one.expand_as(every), every)
        if exclude_self:
            apart[one] = torch.inf
        near = apart.topk(length, largest=False)
        squared.append(near.values)
        indices.append(near.indices)
    return torch.stack(squared), torch.stack(indices), torch.ones_like(left, dtype=torch.bool)


class _Shortlists:
    """The least entries of each row so far, and their columns."""

    def __init__(self, n: int, length: int, distances: Distances) -> None:
        device = distances.x.device
        self._least = torch.full((n, length), torch.inf, dtype=distances.dtype, device=device)
        self._columns = torch.zeros((n, length), dtype=torch.int64, device=device)
        self._worst = torch.full((n,), torch.inf, dtype=distances.dtype, device=device)

    def offer(self, rows: slice, first_column: int, tile: Tensor) -> None:
        better = (tile < self._worst[rows, None]).contiguous()
        row, column = better.nonzero(as_tuple=True)
        if not len(row):
            return
        counts = torch.bincount(row, minlength=len(tile))
        width, length = int(counts.max()), self._least.shape[1]
        if 4 * width > tile.shape[1]:
            values, columns = tile.topk(min(length, tile.shape[1]), largest=False, sorted=False)
        else:
            place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
            values = tile.new_full((len(tile), width), torch.inf)
            columns = torch.zeros_like(values, dtype=torch.int64)
            values[row, place], columns[row, place] = tile[row, column], column
        values = torch.cat([self._least[rows], values], dim=1)
        columns = torch.cat([self._columns[rows], columns + first_column], dim=1)
        values, kept = values.topk(length, largest=False, sorted=False)
        self._least[rows], self._columns[rows] = values, columns.gather(1, kept)
        self._worst[rows] = values.amax(dim=1)

    def sorted(self) -> tuple[Tensor, Tensor]:
        values, order = self._least.sort(dim=1)
        return values, self._columns.gather(1, order)


def _exclude(tile: Tensor, columns: Tensor) -> None:
    """Take one entry out of each row, where its column is in this tile."""
    here = ((columns >= 0) & (columns < tile.shape[1])).nonzero().squeeze(1)
    tile[here, columns[here]] = torch.inf


def _product_dtype(d: int) -> torch.dtype:
    return torch.float32 if d >= _FEW_COLUMNS else torch.float64


def _centre(y: Tensor, x: Tensor) -> Tensor:
    """Mean row of y, float64, such that its difference from a float32 row is rounded just once."""
    total = torch.zeros(y.shape[1], dtype=torch.float64, device=y.device)
    for part in _parts(len(y), y.shape[1], _BLOCK_ELEMENTS):
        total += y[part].double().sum(dim=0)
    mean = total / len(y)
    return mean if torch.float64 in (x.dtype, y.dtype) else mean.float().double()


def _squared_norms(rows: Tensor, centre: Tensor) -> Tensor:
    norms = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for part in _parts(len(rows), rows.shape[1], _BLOCK_ELEMENTS):
        norms[part] = (rows[part].double() - centre).square_().sum(dim=1)
    return norms


def _all_equal(x: Tensor, y: Tensor, largest: float) -> bool:
    """Whether every row is the same, and not merely so near that its square vanishes."""
    return largest <= _LEAST_SQUARE and all(bool((side == y[0]).all()) for side in (x, y))


def _scale(largest: float) -> float:
    """A power of two that brings the largest squared norm near one, or 1 where it is moderate."""
    if 2.0**-40 < largest < 2.0**40:
        return 1.0
    if not _LEAST_SQUARE < largest < 2.0**1000:
        raise MetricError(
            f"the largest squared distance of a feature row from the mean is {largest:g}; float64 "
            "distances overflow or vanish there; rescale the features to a norm near 1"
        )
    return 2.0 ** -math.frexp(math.sqrt(largest))[1]


def _parts(n: int, width: int, elements: int) -> Iterator[slice]:
    height = max(1, elements // width)
    for start in range(0, n, height):
        yield slice(start, min(start + height, n))
