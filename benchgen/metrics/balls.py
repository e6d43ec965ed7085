"""Nearest-neighbour balls of one set of points, and which points of another set visit them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.halving import Pairs, half_radii, halves

Boundary = Literal["<=", "<"]

_TILE_ELEMENTS = 2**22
_PAIR_LIMIT = 2**22


@dataclass(frozen=True)
class Balls:
    """Points, each with a ball that reaches to its k-th nearest neighbour.

    Attributes:
        points: Feature rows ``[m, d]``, as stored.
        lists: The k nearest other points of each point, ``[m, k]``.
        radii: Squared radii ``[m]``.
        next_radii: Squared radii ``[m]`` once one of the k neighbours is gone.
        halves: Whether a point is in the first half, per random halving, bool ``[r, m]``.
        half_radii: Squared radii within the point's own half, ``[r, m]``; None where a half is too
            small to have k neighbours.
    """

    points: Tensor
    lists: Tensor
    radii: Tensor
    next_radii: Tensor
    halves: Tensor
    half_radii: Tensor | None


@dataclass(frozen=True)
class Visits:
    """Which visitors (``n`` points of the other set) are inside which balls (``m``).

    Attributes:
        counts: Balls around each visitor, int64 ``[n]``.
        inside: Visitors inside each ball, int64 ``[m]``.
        shell: Visitors that each ball would gain at its next radius, int64 ``[m]``.
        lost: Net number of visitors left without any ball if this point were removed, ``[m]``.
        sole: Balls that hold this visitor and no other, float64 ``[n]``.
        pairs: Visitor, ball and squared distance of all pairs near enough to matter in a half;
            None where they are too many to hold, or where there are no halves.
    """

    counts: Tensor
    inside: Tensor
    shell: Tensor
    lost: Tensor
    sole: Tensor
    pairs: Pairs | None


def balls(points: Tensor, centre: Tensor, k: int, seed: int) -> Balls:
    """Find the k nearest neighbours of each of ``points`` ``[m, d]``, m > k, within the set."""
    m = len(points)
    # Long enough that each half of the set all but surely has k members in it.
    length = min(8 * k, m - 1)
    indices, squared = [], []
    for rows in _row_tiles(m, m):
        tile, _ = _squared_distances(points[rows], points, centre)
        own = torch.arange(rows.start, rows.stop, device=tile.device)
        tile[own - rows.start, own] = torch.inf
        near = tile.topk(length, largest=False)
        exact = min(k + 1, length)
        pairs = own.repeat_interleave(exact), near.indices[:, :exact].flatten()
        near.values[:, :exact] = _exact(points, points, *pairs).view(-1, exact).sort(dim=1).values
        indices.append(near.indices)
        squared.append(near.values)
    lists, distances = torch.cat(indices), torch.cat(squared)
    split = halves(m, seed).to(points.device)
    return Balls(
        points,
        lists[:, :k],
        distances[:, k - 1],
        distances[:, min(k, length - 1)],
        split,
        half_radii(split, lists, distances, k) if m // 2 > k else None,
    )


def visits(home: Balls, visitors: Tensor, centre: Tensor, boundary: Boundary) -> Visits:
    """Count which of ``visitors`` ``[n, d]`` are inside the balls of ``home``."""
    n, m = len(visitors), len(home.points)
    counts = torch.zeros(n, dtype=torch.int64, device=visitors.device)
    inside_, shell_, lost = (torch.zeros_like(home.radii) for _ in range(3))
    index_sum = torch.zeros_like(home.radii)
    reach = None if home.half_radii is None else home.half_radii.amax(dim=0)
    found = _PairCollector(reach)
    for rows in _row_tiles(n, m):
        tile, tolerance = _squared_distances(visitors[rows], home.points, centre)
        inside = _is_inside(tile, tolerance, home, visitors[rows], boundary)
        shell = (tile <= home.next_radii + tolerance) & ~inside
        counts[rows] = inside.sum(dim=1)
        inside_ += inside.sum(dim=0)
        shell_ += shell.sum(dim=0)
        index_sum += (
            torch.arange(rows.start, rows.stop, device=tile.device).double() @ inside.double()
        )
        lost += _lost_without(home.lists, inside, shell, counts[rows])
        found.add(tile, rows.start)
    alone = index_sum[inside_ == 1].long()
    sole = torch.bincount(alone, minlength=n).double()
    return Visits(counts, inside_, shell_, lost, sole, found.pairs())


class _PairCollector:
    """Gathers the pairs within ``reach`` ``[m]`` of a ball's centre, up to a limit of memory."""

    def __init__(self, reach: Tensor | None) -> None:
        self._reach = reach
        self._parts: list[Pairs] = []
        self._count = 0

    def add(self, tile: Tensor, first: int) -> None:
        if self._reach is None:
            return
        near = tile <= self._reach
        self._count += int(near.sum())
        if self._count > _PAIR_LIMIT:
            self._reach, self._parts = None, []
            return
        visitor, ball = near.nonzero(as_tuple=True)
        self._parts.append(Pairs(visitor + first, ball, tile[visitor, ball]))

    def pairs(self) -> Pairs | None:
        if self._reach is None:
            return None
        return Pairs(
            torch.cat([part.visitor for part in self._parts]),
            torch.cat([part.ball for part in self._parts]),
            torch.cat([part.squared for part in self._parts]),
        )


def _row_tiles(n: int, m: int) -> Iterator[slice]:
    height = max(1, _TILE_ELEMENTS // m)
    for start in range(0, n, height):
        yield slice(start, min(start + height, n))


def _squared_distances(x: Tensor, y: Tensor, centre: Tensor) -> tuple[Tensor, float]:
    """Squared distances ``[b, m]`` by one matrix product, and the bound of their rounding."""
    x, y = x.double() - centre, y.double() - centre
    x_norm, y_norm = x.square().sum(dim=1), y.square().sum(dim=1)
    squared = torch.addmm(x_norm[:, None] + y_norm, x, y.T, alpha=-2).clamp_min_(0)
    largest = float(x_norm.max() + y_norm.max())
    if not math.isfinite(largest):
        raise MetricError("the distances between features overflow float64; rescale them")
    return squared, 4 * (x.shape[1] + 4) * torch.finfo(torch.float64).eps * largest


def _exact(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances ``[p]`` of pairs by subtraction: zero for duplicates, and symmetric."""
    squared = torch.empty(len(i), dtype=torch.float64, device=x.device)
    for part in _row_tiles(len(i), x.shape[1]):
        squared[part] = (x[i[part]].double() - y[j[part]].double()).square().sum(dim=1)
    return squared


def _is_inside(
    tile: Tensor, tolerance: float, home: Balls, visitors: Tensor, boundary: Boundary
) -> Tensor:
    inside = tile < home.radii
    close = ((tile - home.radii).abs_() <= tolerance).nonzero(as_tuple=True)
    exact, radii = _exact(visitors, home.points, *close), home.radii[close[1]]
    inside[close] = exact <= radii if boundary == "<=" else exact < radii
    return inside


def _lost_without(lists: Tensor, inside: Tensor, shell: Tensor, counts: Tensor) -> Tensor:
    """Visitors of a tile that would be left without a ball, less those that would gain one, for
    each point removed ``[m]``: its own ball goes, and balls that reached to it widen."""
    few = counts <= 1
    inside, shell, counts = inside[few], shell[few].float(), counts[few]
    widened = torch.zeros_like(shell)
    for neighbour in lists.T:
        widened.index_add_(1, neighbour, shell)
    regained = widened > 0
    lost = inside & ~regained
    gained = regained & (counts == 0)[:, None]
    return lost.sum(dim=0) - gained.sum(dim=0)
