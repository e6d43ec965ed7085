"""Shares of images: their intervals, and those of differences between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from benchgen.errors import MetricError

Side = Literal["two-sided", "upper", "lower"]


@dataclass(frozen=True)
class Share:
    """A share ``value`` (or a difference of two) and the ends of its interval."""

    value: float
    lower: float
    upper: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.lower, self.upper


def wilson(count: int, n: int, *, level: float = 0.95, side: Side = "two-sided") -> Share:
    """Interval of a share ``count / n`` (Wilson 1927): close to ``level`` on average over shares.

    Args:
        count: Images that have the attribute.
        n: Images looked at, independent of each other.
        level: Nominal coverage.
        side: ``"upper"`` bounds the share from above alone (the lower end is 0), ``"lower"`` from
            below alone (the upper end is 1).

    Raises:
        MetricError: If the counts are no counts, or ``level`` or ``side`` is none of the possible.
    """
    share, z = _checked(count, n, level), _normal_quantile(level, side)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
    return _one_sided(share, max(0.0, centre - half), min(1.0, centre + half), side)


def clopper_pearson(count: int, n: int, *, level: float = 0.95, side: Side = "two-sided") -> Share:
    """Interval of a share that covers with at least ``level``, whatever it is (Clopper & Pearson
    1934): for upper bounds on rare events, and for counts of 0 or n.

    Arguments and errors are those of ``wilson``.
    """
    share = _checked(count, n, level)
    tail = _tail(level, side)
    lower = 0.0 if count == 0 else float(stats.beta.ppf(tail, count, n - count + 1))
    upper = 1.0 if count == n else float(stats.beta.isf(tail, count + 1, n - count))
    return _one_sided(share, lower, upper, side)


def goodman(counts: Sequence[int], *, level: float = 0.95) -> list[Share]:
    """Intervals of K shares of one whole that all hold at once (Goodman 1965).

    Args:
        counts: Images of each kind; every image is of one. "Unknown" is a kind of its own.
        level: Nominal coverage of all intervals together.

    Raises:
        MetricError: If there are fewer than two kinds, or the counts are no counts.
    """
    if len(counts) < 2:
        raise MetricError(f"goodman: found {len(counts)} count(s); give one per kind, 2 or more")
    total = sum(counts)
    for count in counts:
        _checked(count, total, level)
    return [wilson(count, total, level=1 - (1 - level) / len(counts)) for count in counts]


def newcombe(count1: int, n1: int, count2: int, n2: int, *, level: float = 0.95) -> Share:
    """Interval of the difference of two independent shares, first less second (Newcombe 1998a,
    method 10: from the Wilson intervals of both).

    Raises:
        MetricError: As ``wilson``.
    """
    one, two = wilson(count1, n1, level=level), wilson(count2, n2, level=level)
    return _from_both(one, two, correlation=0.0)


def newcombe_paired(
    both: int, first: int, second: int, neither: int, *, level: float = 0.95
) -> Share:
    """Interval of the difference of two shares of the same images (Newcombe 1998b, method 10).

    Args:
        both: Pairs where both images have the attribute.
        first: Pairs where only the first has it.
        second: Pairs where only the second has it.
        neither: Pairs where neither has it.
        level: Nominal coverage.

    Raises:
        MetricError: As ``wilson``.
    """
    for count in (both, first, second, neither):
        _checked(count, max(1, both + first + second + neither), level)
    n = both + first + second + neither
    one, two = wilson(both + first, n, level=level), wilson(both + second, n, level=level)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    determinant = float(both * neither - first * second)
    if determinant > 0:
        determinant = max(determinant - n / 2, 0.0)
    return _from_both(one, two, determinant / margins**0.5 if margins else 0.0)


def _from_both(one: Share, two: Share, correlation: float) -> Share:
    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 - 2 * correlation * a * b + b**2))

    value = one.value - two.value
    down = reach(one.value - one.lower, two.upper - two.value)
    up = reach(one.upper - one.value, two.value - two.lower)
    return Share(value, max(-1.0, value - down), min(1.0, value + up))


def _one_sided(share: float, lower: float, upper: float, side: Side) -> Share:
    # Rounding must not exclude the share itself.
    lower = 0.0 if side == "upper" else min(lower, share)
    upper = 1.0 if side == "lower" else max(upper, share)
    return Share(share, lower, upper)


def _normal_quantile(level: float, side: Side) -> float:
    return float(stats.norm.isf(_tail(level, side)))


def _tail(level: float, side: Side) -> float:
    if side not in ("two-sided", "upper", "lower"):
        raise MetricError(f"side is {side!r}; use 'two-sided', 'upper' or 'lower'")
    return (1 - level) / 2 if side == "two-sided" else 1 - level


def _checked(count: int, n: int, level: float) -> float:
    """The share, if the numbers can be those of one."""
    if not 0 < level < 1:
        raise MetricError(f"level is {level}; use a number between 0 and 1, such as 0.95")
    whole = all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in (count, n))
    if not (whole and n >= 1 and 0 <= count <= n):
        raise MetricError(
            f"{count!r} of {n!r} is no share of images; give whole numbers with 0 ≤ count ≤ n, "
            "and n at least 1"
        )
    return int(count) / int(n)
