"""The difference of two estimates, with what they share taken out."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate, Spread, quantile_of, variance_of_mean


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
    """

    value: float | None
    stderr: float | None
    interval: tuple[float, float] | None
    p: float | None
    paired: bool
    notes: tuple[str, ...] = ()


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
    where the influences are mostly its noise.

    Raises:
        MetricError: If ``level`` is out of range, or sides that are said to be paired or shared
            have different numbers of images or different clusters.
    """
    wanted = quantile_of(level, None)
    if a.value is None or b.value is None:
        return Difference(None, None, None, None, paired, ("a value is undefined",))
    value = a.value - b.value
    if a.stderr is None or b.stderr is None:
        return Difference(value, None, None, None, paired, ("a standard error is unknown",))
    fakes = _Side(a.influence.fake, a.clusters), _Side(b.influence.fake, b.clusters)
    reals = _Side(a.influence.real, a.real_clusters), _Side(b.influence.real, b.real_clusters)
    together = Spread.sum(
        _spreads(*fakes, paired, "paired images")
        + _spreads(*reals, shared_reference, "shared references")
    ).variance
    apart = Spread.sum(side.spread for side in (*fakes, *reals)).variance
    left = (together / apart) ** 0.5 if apart > 0 else 1.0
    second = _second_order(a, b, paired, shared_reference)
    if second is not None and (own := hypot(a.stderr, b.stderr)) > 0:
        left = _without_noise(together, second) ** 0.5 / own
    stderr = left * hypot(a.stderr, b.stderr)
    (a_down, a_up), (b_down, b_up) = _reaches(a, wanted), _reaches(b, wanted)
    down, up = left * hypot(a_down, b_up), left * hypot(a_up, b_down)
    p = _p_value(value, (down if value > 0 else up) / wanted)
    return Difference(value, stderr, (value - down, value + up), p, paired)


def _second_order(a: Estimate, b: Estimate, paired: bool, shared: bool) -> float | None:
    """Variance of the second order of the difference; None where it is not known."""
    if a.law is None or b.law is None or a.law.draws is None or b.law.draws is None:
        return None
    common = torch.tensor([paired, paired and shared, shared])
    x, y = a.law.draws, b.law.draws
    apart = x.square() + y.square()
    parts = torch.where(common[:, None], (x - y).square(), apart).mean(dim=1)
    return float(parts.sum())


def _without_noise(together: float, second: float) -> float:
    """Variance of the difference, F + Q, from that of its influences, which is about F + 2Q.

    Where the influences are at least as much noise as not, F itself cannot be told from noise.
    """
    return second if together < 3 * second else together - second


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


def _reaches(side: Estimate, wanted: float) -> tuple[float, float]:
    """How far the interval reaches below and above the value, brought to the wanted level."""
    assert side.value is not None
    assert side.stderr is not None
    if side.interval is None:
        return wanted * side.stderr, wanted * side.stderr
    scale = wanted / quantile_of(side.level, None)
    low, high = side.interval
    return scale * (side.value - low), scale * (high - side.value)


def _p_value(value: float, error: float) -> float:
    if value == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else 0.0
