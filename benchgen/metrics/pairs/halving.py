"""Variance of neighbour statistics, from the differences between random halves of the data.

A nearest-neighbour statistic is far from linear in single images: leaving one out overstates its
variance severalfold, because each ball's loss is made good by its neighbours. Two disjoint halves
of both sets give two independent copies of the statistic at half the size and the same balance
of sizes; the statistic's variance is inverse to size, so half their difference deviates from zero
as the statistic does from its expectation. Which images are in which half depends on their indices
alone, so deviations of two statistics of the same images go together as the statistics do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchgen.metrics.pairs.balls import Balls
from benchgen.metrics.pairs.visits import Pairs

HALVINGS = 100
_ELEMENTS = 2**23


@dataclass(frozen=True)
class Halvings:
    """Deviations float64 ``[r]`` in r halvings; their mean square estimates a variance.

    Attributes:
        visitors_inside: Of the share of visitors inside some ball.
        balls_around: Of the mean number of balls around a visitor, relative to it: where balls
            overlap, this number itself grows with the number of balls.
        balls_visited: Of the share of balls that hold a visitor.
    """

    visitors_inside: Tensor
    balls_around: Tensor
    balls_visited: Tensor


def halves(n: int, seed: int) -> Tensor:
    """Random halvings of n points: bool ``[n, HALVINGS]``, True for the first half."""
    random = np.random.RandomState(seed)
    first = np.zeros((n, HALVINGS), dtype=bool)
    for halving in range(HALVINGS):
        first[random.permutation(n)[: n // 2], halving] = True
    return torch.from_numpy(first)


def deviations(pairs: Pairs, balls: Balls, visitor_halves: Tensor, ball_halves: Tensor) -> Halvings:
    """Half the differences between halves.

    Args:
        pairs: All pairs of a visitor and a ball that are near enough to matter in some half.
        balls: The m balls.
        visitor_halves: bool ``[n, r]``.
        ball_halves: bool ``[m, r]``.
    """
    visitor, ball, rank = pairs.visitor.long(), pairs.ball.long(), pairs.rank.long()
    by_visitor = _Sums(visitor, len(visitor_halves))
    by_ball = _Sums(ball, len(ball_halves))
    depth = balls.squared.shape[1] + 1
    differences, mean_around = [], 0.0
    for part in _parts(visitor_halves.shape[1], max(len(ball), balls.squared.numel())):
        ours, theirs = visitor_halves[:, part].contiguous(), ball_halves[:, part].contiguous()
        nearer = _nearer_in_own_half(balls.neighbours, theirs).view(len(theirs) * depth, -1)
        inside = nearer[ball * depth + rank] < balls.k
        inside &= ours[visitor] == theirs[ball]
        weights = inside.float()
        around, visited = by_visitor(weights), by_ball(weights)
        differences.append(
            torch.stack(
                [
                    _difference((around > 0).double(), ours),
                    _difference(around.double(), ours),
                    _difference((visited > 0).double(), theirs),
                ]
            )
        )
        mean_around += float(around.double().mean(dim=0).sum()) / visitor_halves.shape[1]
    inside_, around_, visited_ = torch.cat(differences, dim=1).cpu() / 2
    relative = around_ / mean_around if mean_around > 0 else torch.zeros_like(around_)
    return Halvings(inside_, relative, visited_)


def _nearer_in_own_half(neighbours: Tensor, halves: Tensor) -> Tensor:
    """How many of a point's first 0, 1, ... l neighbours share its half, ``[m, l+1, r]``."""
    m, length = neighbours.shape
    dtype = torch.uint8 if length < 256 else torch.int32
    nearer = torch.zeros(m, length + 1, halves.shape[1], dtype=dtype, device=neighbours.device)
    for rank in range(length):
        together = halves[neighbours[:, rank]] == halves
        torch.add(nearer[:, rank], together, out=nearer[:, rank + 1])
    return nearer


class _Sums:
    """Sums of rows ``[p, r]`` that belong to one of ``count`` owners."""

    def __init__(self, owner: Tensor, count: int) -> None:
        self._order = owner.argsort(stable=True)
        sizes = torch.bincount(owner, minlength=count)
        self._starts = sizes.cumsum(0) - sizes

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.nn.functional.embedding_bag(self._order, rows, self._starts, mode="sum")


def _difference(values: Tensor, first: Tensor) -> Tensor:
    """Mean of the first half less that of the second, ``[r]``, of values ``[n, r]``."""
    total, in_first = values.sum(dim=0), (values * first).sum(dim=0)
    size = first.sum(dim=0)
    return in_first / size - (total - in_first) / (len(first) - size)


def _parts(halvings: int, width: int) -> Iterator[slice]:
    step = max(1, min(32, _ELEMENTS // max(1, width)))
    for start in range(0, halvings, step):
        yield slice(start, min(start + step, halvings))
