"""Variance of neighbour statistics, from the differences between random halves of the data.

A nearest-neighbour statistic is far from linear in single images: leaving one out overstates its
variance severalfold, because each ball's loss is made good by its neighbours. Two disjoint halves
of both sets give two independent copies of the statistic at half the size and the same balance
of sizes; the statistic's variance is inverse to size, so a quarter of the squared difference,
averaged over many halvings, estimates it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HALVINGS = 100


@dataclass(frozen=True)
class Pairs:
    """Pairs of a visitor and a ball: their indices and squared distance, each ``[p]``."""

    visitor: Tensor
    ball: Tensor
    squared: Tensor


@dataclass(frozen=True)
class HalvingVariances:
    """Variances over random data.

    Attributes:
        visitors_inside: Of the share of visitors inside some ball.
        balls_around: Of the mean number of balls around a visitor, relative to its square: where
            balls overlap, this number itself grows with the number of balls.
        balls_visited: Of the share of balls that hold a visitor.
    """

    visitors_inside: float
    balls_around: float
    balls_visited: float


def halves(n: int, seed: int) -> Tensor:
    """Random halvings of n points: bool ``[HALVINGS, n]``, True for the first half."""
    random = np.random.RandomState(seed)
    first = np.zeros((HALVINGS, n), dtype=bool)
    for row in first:
        row[random.permutation(n)[: n // 2]] = True
    return torch.from_numpy(first)


def half_radii(split: Tensor, lists: Tensor, squared: Tensor, k: int) -> Tensor:
    """Squared distance ``[r, m]`` of each point to its k-th neighbour in its own half.

    ``lists`` and ``squared`` ``[m, l]`` are the nearest neighbours in order. Where fewer than k of
    them share the half, the farthest one listed stands in.
    """
    radii = torch.empty(split.shape, dtype=squared.dtype, device=squared.device)
    for r, first in enumerate(split):
        together = first[lists] == first[:, None]
        rank = (together.cumsum(dim=1) < k).sum(dim=1).clamp_max(lists.shape[1] - 1)
        radii[r] = squared.gather(1, rank[:, None]).squeeze(1)
    return radii


def halving_variances(
    pairs: Pairs, visitor_halves: Tensor, ball_halves: Tensor, radii: Tensor
) -> HalvingVariances:
    """Mean of a quarter of the squared differences between halves.

    Args:
        pairs: All pairs with a squared distance up to the greatest of ``radii`` of that ball.
        visitor_halves: bool ``[r, n]``. ball_halves: bool ``[r, m]``.
        radii: Squared radii of the balls within their halves, ``[r, m]``.
    """
    n, m = visitor_halves.shape[1], ball_halves.shape[1]
    squares = torch.zeros(3, dtype=torch.float64)
    mean_around = 0.0
    for ours, theirs, radius in zip(visitor_halves, ball_halves, radii, strict=True):
        together = ours[pairs.visitor] == theirs[pairs.ball]
        inside = together & (pairs.squared <= radius[pairs.ball])
        around = torch.bincount(pairs.visitor[inside], minlength=n)
        visited = torch.bincount(pairs.ball[inside], minlength=m)
        differences = (
            _difference((around > 0).double(), ours),
            _difference(around.double(), ours),
            _difference((visited > 0).double(), theirs),
        )
        squares += torch.stack(differences).cpu().square()
        mean_around += float(around.double().mean()) / len(radii)
    inside_, around_, visited_ = (squares / (4 * len(radii))).tolist()
    relative = around_ / mean_around**2 if mean_around > 0 else 0.0
    return HalvingVariances(inside_, relative, visited_)


def _difference(values: Tensor, first: Tensor) -> Tensor:
    return values[first].mean() - values[~first].mean()
