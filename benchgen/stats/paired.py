"""The difference of two estimates, with what they share taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate, Spread, quantile_of, variance_of_mean

_NOISE = 3.5
"""With less, intervals at equality of both generators cover more than 98 %; with more, those where
just one of them equals the reference cover less than 92 %."""


@dataclass(frozen=True)
class Difference:
    """A first value less a second one.

    Attributes:
        value: The difference, in units of the values; None where either is undefined.
        stderr: Its standard error; None where either side's is unknown.
        interval: Confidence interval.
        p: Two-sided p-value of no difference; below 1 - level exactly where the interval
            leaves out 0.
        paired: Whether the images were compared one by one.
        notes: Sentences that belong beside the value.
        degrees: Degrees of freedom of the standard error; None where many.
        errors: How far the interval reaches below and above the value, in units of its quantile;
            None where unknown.
    """

    value: float | None
    stderr: float | None
    interval: tuple[float, float] | None
    p: float | None
    paired: bool
    notes: tuple[str, ...] = ()
    degrees: float | None = None
    errors: tuple[float, float] | None = None

    def p_at_most(self, margin: float) -> float | None:
        """One-sided p-value of a difference that is ``margin`` or less; None where unknown."""
        if self.value is None or self.errors is None:
            return None
        return _tail(self.value - margin, self.errors[0], self.degrees)

    def p_at_least(self, margin: float) -> float | None:
        """One-sided p-value of a difference that is ``margin`` or more; None where unknown."""
        if self.value is None or self.errors is None:
            return None
        return _tail(margin - self.value, self.errors[1], self.degrees)

    def widened(self, factor: float) -> Difference:
        """The same difference with an error that many times as large."""
        if self.value is None or self.errors is None or self.interval is None:
            return self
        down, up = (factor * error for error in self.errors)
        low, high = (self.value + factor * (end - self.value) for end in self.interval)
        return replace(
            self,
            stderr=None if self.stderr is None else factor * self.stderr,
            interval=(low, high),
            p=_two_sided(self.value, down, up, self.degrees),
            errors=(down, up),
        )


def difference(
    a: Estimate, b: Estimate, *, paired: bool, shared_reference: bool, level: float = 0.95
) -> Difference:
    """Compare two estimates of one metric: ``a.value - b.value``.

    Where images are paired (same seeds, same order) the influences are subtracted image by image;
    likewise for reference images where both sides used the same. Clusters are summed over first;
    paired images must be clustered alike. The share of variance that is left so, of that of both
    sides taken apart, then shortens the interval of two independent estimates: the one made of
    the limits of both (Zou & Donner 2008; for shares, Newcombe 1998), which keeps what those know
    of second orders, skewness and bounds. No difference in any image gives exactly zero, with
    p = 1. Of squared distances the second order of the difference is known too, and is taken off
    where the influences are mostly its noise. Where both errors were measured by halving, so is
    what is left of them.

    Raises:
        MetricError: If ``level`` is out of range, or sides that are said to be paired or shared
            have different numbers of images or different clusters.
    """
    quantile_of(level, None)
    if a.value is None or b.value is None:
        return Difference(None, None, None, None, paired, ("a value is undefined",))
    value = a.value - b.value
    if a.stderr is None or b.stderr is None:
        return Difference(value, None, None, None, paired, ("a standard error is unknown",))
    fakes = _Side(a.influence.fake, a.clusters), _Side(b.influence.fake, b.clusters)
    reals = _Side(a.influence.real, a.real_clusters), _Side(b.influence.real, b.real_clusters)
    spread = Spread.sum(
        _spreads(*fakes, paired, "paired images")
        + _spreads(*reals, shared_reference, "shared references")
    )
    together, degrees = spread.variance, _degrees(spread, a, b)
    apart = Spread.sum(side.spread for side in (*fakes, *reals)).variance
    own = hypot(a.stderr, b.stderr)
    if a.law is not None and b.law is not None and own > 0:
        left = without_noise(together, _second_order(a, b, paired, shared_reference)) ** 0.5 / own
    elif (paired or shared_reference) and (halvings := _halvings(a, b)) is not None:
        left = halvings
    else:
        left = (together / apart) ** 0.5 if apart > 0 else 1.0
    stderr = left * own
    (a_down, a_up), (b_down, b_up) = reaches(a), reaches(b)
    down, up = left * hypot(a_down, b_up), left * hypot(a_up, b_down)
    quantile = quantile_of(level, degrees)
    interval = value - quantile * down, value + quantile * up
    p = _two_sided(value, down, up, degrees)
    return Difference(value, stderr, interval, p, paired, degrees=degrees, errors=(down, up))


def _halvings(a: Estimate, b: Estimate) -> float | None:
    """What sharing images leaves of the standard error, where both were measured by halving."""
    x, y = a.halvings, b.halvings
    if x is None or y is None or len(x) != len(y):
        return None
    apart = float(x.square().sum() + y.square().sum())
    return (float((x - y).square().sum()) / apart) ** 0.5 if apart > 0 else None


def _second_order(a: Estimate, b: Estimate, paired: bool, shared: bool) -> float:
    """Variance of the second order of the difference; 0 where it is not known."""
    assert a.law is not None
    assert b.law is not None
    x, y = a.law.draws, b.law.draws
    if x is None or y is None:
        return 0.0
    common = torch.tensor([paired, paired and shared, shared])
    parts = torch.where(common[:, None], (x - y).square(), x.square() + y.square())
    return float(parts.mean(dim=1).sum())


def without_noise(together: Any, second: Any) -> Any:
    """Variance of the difference, F + Q, from that of its influences, which is about F + 2Q.

    Where F is zero F + 2Q is 2Q, give or take: below ``_NOISE`` times Q, F cannot be told from
    noise. Where Q is not known, nothing is taken off: the error is then too large near equality.
    """
    return np.where(together < _NOISE * second, second, together - second)


@dataclass(frozen=True)
class _Side:
    influence: Tensor | None
    clusters: Tensor | None

    @property
    def spread(self) -> Spread:
        return variance_of_mean(self.influence, self.clusters)


def _spreads(x: _Side, y: _Side, shared: bool, what: str) -> list[Spread]:
    if x.influence is None or y.influence is None or not shared:
        return [x.spread, y.spread]
    if len(x.influence) != len(y.influence):
        raise MetricError(
            f"{what} must be equally many on both sides, not {len(x.influence)} and "
            f"{len(y.influence)}; score the same number, or compare them as independent"
        )
    both = x.clusters is not None and y.clusters is not None
    if both and not torch.equal(x.clusters, y.clusters):  # type: ignore[arg-type]
        raise MetricError(
            f"{what} must be clustered alike on both sides; give both the same clusters, or "
            "compare them as independent"
        )
    clusters = y.clusters if x.clusters is None else x.clusters
    return [variance_of_mean(x.influence - y.influence, clusters)]


def reaches(side: Estimate) -> tuple[float, float]:
    """How far the interval reaches below and above the value, in units of its quantile."""
    assert side.value is not None
    assert side.stderr is not None
    if side.interval is None:
        return side.stderr, side.stderr
    quantile = quantile_of(side.level, side.degrees)
    low, high = side.interval
    return (side.value - low) / quantile, (high - side.value) / quantile


def _degrees(between: Spread, a: Estimate, b: Estimate) -> float | None:
    """Those of the influences, but no more than a side's whose clusters are no longer known."""
    found = min(between.degrees or math.inf, lost_degrees(a), lost_degrees(b))
    return None if math.isinf(found) else found


def lost_degrees(side: Estimate) -> float:
    """Degrees of freedom of an error over clusters that are no longer known; else infinite."""
    lost = side.method != "influence" and side.clusters is None and side.real_clusters is None
    return math.inf if not lost or side.degrees is None else side.degrees


def _two_sided(value: float, down: float, up: float, degrees: float | None) -> float:
    return min(1.0, 2 * _tail(abs(value), down if value > 0 else up, degrees))


def _tail(excess: float, error: float, degrees: float | None) -> float:
    """Probability of a value that far above its expectation, or further."""
    if error == 0:
        return 0.0 if excess > 0 else 1.0
    ratio = excess / error
    return float(stats.norm.sf(ratio) if degrees is None else stats.t.sf(ratio, degrees))
