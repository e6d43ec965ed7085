"""Which points of either of two sets are inside which balls of the other: one pass for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.metrics.pairs.balls import Balls, Boundary
from benchgen.metrics.pairs.distances import Distances

_PAIRS_AT_LEAST = 2**22
_PAIRS_PER_POINT = 64
_RANKED_AT_ONCE = 2**16
_OPEN_AT_LEAST = 2**16
_OPEN_SHARE = 0.02
"""Where float32 leaves more pairs open than this, products in float64 cost less than taking each
pair again."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a visitor and a ball near it.

    Attributes:
        visitor: int32 ``[p]``.
        ball: int32 ``[p]``.
        rank: How many of the ball's listed neighbours stand between it and the visitor: those
            nearer, and with ``"<"`` those as near. ``[p]``, uint8 where that fits, else int32.
    """

    visitor: Tensor
    ball: Tensor
    rank: Tensor

    def __len__(self) -> int:
        return len(self.visitor)

    def __getitem__(self, which: Tensor) -> Pairs:
        return Pairs(self.visitor[which], self.ball[which], self.rank[which])


@dataclass(frozen=True)
class Visits:
    """Which visitors (n points of the other set) are inside which balls (m).

    Attributes:
        counts: Balls around each visitor, int64 ``[n]``. Exact.
        inside: Visitors inside each ball, int64 ``[m]``. Exact.
        shell: Visitors that each ball would gain at its next radius, int64 ``[m]``.
        sole_ball: A ball around each visitor, int64 ``[n]``; the one, where ``counts`` is 1.
        sole_visitor: A visitor inside each ball, int64 ``[m]``; the one, where ``inside`` is 1.
        gains: Pairs of a visitor in at most one ball, and a ball that would gain it at its next
            radius; None where there are too many to hold.
        near: All pairs that are inside in some half of the points; None where too many to hold.
    """

    counts: Tensor
    inside: Tensor
    shell: Tensor
    sole_ball: Tensor
    sole_visitor: Tensor
    gains: Pairs | None
    near: Pairs | None


def mutual_visits(fake: Balls, real: Balls, boundary: Boundary) -> tuple[Visits, Visits]:
    """Visits of the fake points to the real balls, and of the real points to the fake balls.

    Membership is that of float64 subtraction. Memory is linear in the number of points.

    Raises:
        MetricError: If the squares of the features leave the range of float64.
    """
    distances = Distances(fake.points, real.points)
    found = _counted(fake, real, boundary, distances)
    if found is None:
        finer = Distances(fake.points, real.points, torch.float64)
        found = _counted(fake, real, boundary, finer)
    assert found is not None
    return found


def _counted(
    fake: Balls, real: Balls, boundary: Boundary, distances: Distances
) -> tuple[Visits, Visits] | None:
    """One pass over the tiles; None where float32 products leave too many pairs open."""
    of_fakes = _Count(real, len(fake.points), boundary, distances)
    of_reals = _Count(fake, len(real.points), boundary, distances)
    opened = seen = 0
    for rows, columns, tile in distances.tiles():
        close = (tile <= of_fakes.reach[columns]) | (tile <= of_reals.reach[rows, None])
        row, column = close.nonzero(as_tuple=True)
        bounds = tile[row, column]
        row, column = row + rows.start, column + columns.start
        slack = distances.slack(row, column)
        opened += of_fakes.add(row, column, bounds, slack, distances.exact)
        opened += of_reals.add(column, row, bounds, slack, lambda v, b: distances.exact(b, v))
        seen += tile.numel()
        flooded = opened > max(_OPEN_AT_LEAST, _OPEN_SHARE * seen)
        if flooded and distances.dtype == torch.float32:
            return None
    return of_fakes.visits(), of_reals.visits()


def net_losses(found: Visits, home: Balls) -> Tensor:
    """Visitors that would be left without any ball if a point of ``home`` were removed, less those
    that would gain one, float64 ``[m]``: its own ball goes, and balls that reached to it widen."""
    m = len(found.inside)
    in_one = (found.counts == 1).nonzero().squeeze(1)
    losses = torch.bincount(found.sole_ball[in_one], minlength=m)
    if found.gains is None:
        return losses.double()
    visitor, ball = found.gains.visitor.long(), found.gains.ball.long()
    removed = home.neighbours[ball, : home.k]
    saved = torch.unique(visitor[:, None] * m + removed)
    visitor, removed = saved // m, saved % m
    counts = found.counts[visitor]
    kept = (counts == 1) & (found.sole_ball[visitor] == removed)
    gained = removed[kept | (counts == 0)]
    return (losses - torch.bincount(gained, minlength=m)).double()


class _Count:
    """Visits to the balls of one set, gathered tile by tile."""

    def __init__(self, home: Balls, n: int, boundary: Boundary, distances: Distances) -> None:
        m, device = len(home.points), home.points.device
        self._home, self._boundary, self._distances = home, boundary, distances
        self.reach = distances.in_tile_units(home.reach)
        self._counts = torch.zeros(n, dtype=torch.int64, device=device)
        self._inside = torch.zeros(m, dtype=torch.int64, device=device)
        self._shell = torch.zeros_like(self._inside)
        self._sole_ball = torch.zeros_like(self._counts)
        self._sole_visitor = torch.zeros_like(self._inside)
        self._rank_dtype = torch.uint8 if home.squared.shape[1] < 256 else torch.int32
        limit = max(_PAIRS_AT_LEAST, _PAIRS_PER_POINT * (n + m))
        self._near, self._gains = _Kept(limit), _Kept(limit)

    def add(
        self,
        visitor: Tensor,
        ball: Tensor,
        bounds: Tensor,
        slack: Tensor,
        exact: Callable[[Tensor, Tensor], Tensor],
    ) -> int:
        """Take in all pairs of a tile that may be within reach of a ball.

        Returns:
            How many had to be taken again by subtraction.
        """
        close = (bounds <= self.reach[ball]).nonzero().squeeze(1)
        visitor, ball = visitor[close], ball[close]
        lower = self._distances.in_feature_units(bounds[close])
        slack = self._distances.in_feature_units(slack[close])
        radii = self._home.radii[ball]
        inside = lower + slack < radii
        open_ = ((lower <= radii) & ~inside).nonzero().squeeze(1)
        squared = exact(visitor[open_], ball[open_])
        within = squared <= radii[open_] if self._boundary == "<=" else squared < radii[open_]
        inside[open_] = within
        self._tally(visitor[inside], ball[inside])
        self._keep(visitor, ball, lower.add_(slack, alpha=0.5), slack, inside)
        return len(open_)

    def visits(self) -> Visits:
        self._gains.keep(self._is_in_few)
        return Visits(
            self._counts,
            self._inside,
            self._shell,
            self._sole_ball,
            self._sole_visitor,
            self._gains.pairs(),
            self._near.pairs(),
        )

    def _tally(self, visitor: Tensor, ball: Tensor) -> None:
        self._counts += torch.bincount(visitor, minlength=len(self._counts))
        self._inside += torch.bincount(ball, minlength=len(self._inside))
        self._sole_ball[visitor] = ball
        self._sole_visitor[ball] = visitor

    def _keep(
        self, visitor: Tensor, ball: Tensor, squared: Tensor, slack: Tensor, inside: Tensor
    ) -> None:
        shell = ((squared <= self._home.next_radii[ball]) & ~inside).nonzero().squeeze(1)
        self._shell += torch.bincount(ball[shell], minlength=len(self._shell))
        next_rank = torch.full_like(ball, self._home.k, dtype=self._rank_dtype)
        pairs = Pairs(visitor.int(), ball.int(), next_rank)
        self._gains.add(pairs[shell])
        if self._gains.full:
            self._gains.keep(self._is_in_few)
            self._gains.drop_if_full()
        if not self._near.dropped:
            self._near.add(Pairs(pairs.visitor, pairs.ball, self._ranks(ball, squared, slack)))
            self._near.drop_if_full()

    def _ranks(self, ball: Tensor, squared: Tensor, slack: Tensor) -> Tensor:
        # What is equal up to rounding is taken for equal.
        tie = slack * self._distances.likely_share_of_slack
        closed = self._boundary == "<="
        squared = squared - tie if closed else squared + tie
        ranks = []
        for start in range(0, max(1, len(ball)), _RANKED_AT_ONCE):
            part = slice(start, start + _RANKED_AT_ONCE)
            listed, reached = self._home.squared[ball[part]], squared[part, None]
            nearer = listed < reached if closed else listed <= reached
            ranks.append(nearer.sum(dim=1, dtype=self._rank_dtype))
        return torch.cat(ranks)

    def _is_in_few(self, pairs: Pairs) -> Tensor:
        return self._counts[pairs.visitor] <= 1


class _Kept:
    """Pairs that are kept, up to a limit of memory; none, once they are too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[Pairs] = []
        self._count = 0
        self.dropped = False

    @property
    def full(self) -> bool:
        return self._count > self._limit

    def add(self, pairs: Pairs) -> None:
        if not self.dropped:
            self._parts.append(pairs)
            self._count += len(pairs)

    def keep(self, wanted: Callable[[Pairs], Tensor]) -> None:
        self._parts = [part[wanted(part)] for part in self._parts]
        self._count = sum(len(part) for part in self._parts)

    def drop_if_full(self) -> None:
        if self.full:
            self._parts, self._count, self.dropped = [], 0, True

    def pairs(self) -> Pairs | None:
        if self.dropped:
            return None
        return Pairs(
            torch.cat([part.visitor for part in self._parts]),
            torch.cat([part.ball for part in self._parts]),
            torch.cat([part.rank for part in self._parts]),
        )
