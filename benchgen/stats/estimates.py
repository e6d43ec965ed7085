"""A score seen statistically: standard error and interval, from the influence of each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, SquaredDistance


@dataclass(frozen=True)
class Influence:
    """How much each image moved a value, in its units, centred (Hampel 1974).

    ``fake`` is float64 ``[n]`` and ``real`` float64 ``[m]``; None where a side does not enter or
    its influence is unknown.
    """

    fake: Tensor | None
    real: Tensor | None


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty.

    Attributes:
        value: The score, or None where it is undefined (then ``reason`` says why).
        stderr: Standard error in units of the value, or None where it is unknown.
        interval: Confidence interval at ``level``, or None where it is unknown.
        n: Number of generated images.
        m: Number of reference images, or None where there is no reference.
        influence: What each image contributed.
        level: Nominal coverage of the interval.
        method: How the standard error was made.
        details: Further numbers, by name.
        notes: Sentences that belong beside the value.
        reason: Why the value, or its uncertainty, is undefined.
        groups: The same estimate within each group of images, by name.
        clusters: Which generated images belong together, int64 ``[n]`` from 0; None where each
            stands alone.
        real_clusters: The same for the reference images, ``[m]``.
        degrees: Degrees of freedom of the standard error; None where unknown, or many.
        law: How the variance depends on the value, where that is a squared distance.
        halvings: Deviations of the value in random halvings of the images, ``[r]``, where the
            metric measures its error so and images are not clustered.
    """

    value: float | None
    stderr: float | None
    interval: tuple[float, float] | None
    n: int
    m: int | None
    influence: Influence
    level: float = 0.95
    method: str = "influence"
    details: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str | None = None
    groups: Mapping[str, Estimate] = field(default_factory=dict)
    clusters: Tensor | None = None
    real_clusters: Tensor | None = None
    degrees: float | None = None
    law: SquaredDistance | None = None
    halvings: Tensor | None = None


def estimate(
    score: Score,
    *,
    n: int,
    m: int | None,
    level: float = 0.95,
    clusters: Tensor | Sequence[Any] | None = None,
    real_clusters: Tensor | Sequence[Any] | None = None,
) -> Estimate:
    """Turn a score into an estimate: Var = var(fake)/n + var(real)/m + the extra variance.

    Args:
        score: A value with its influences.
        n: Number of generated images.
        m: Number of reference images, or None where the metric has no reference.
        level: Nominal coverage of the interval, between 0 and 1.
        clusters: One label per generated image (its prompt, say), ``[n]``. Influences are summed
            within a cluster first (Liang & Zeger 1986).
        real_clusters: One label per reference image (its patient, say), ``[m]``.

    Returns:
        The estimate. Its interval has Student's quantile, with the degrees of freedom that the
        standard error is worth (see ``variance_of_mean``). Intervals of shares are Wilson's
        (1927) instead, with as many trials as the standard error is worth, so that they stay
        inside the share's bounds; their quantile is normal unless images are clustered.

        A squared distance has the variance of its law, and an interval by inverting a test.

        A negative extra variance is noise that the influences carry. Where images are clustered
        that noise too is summed within clusters, so it grows as their variance does.

    Raises:
        MetricError: If ``level`` is out of range, the value is out of its bounds, or an influence
            or clusters have another length than their number of images.
    """
    quantile_of(level, None)
    influence = Influence(score.fake_influence, score.real_influence)
    _require_length(influence.fake, n, "the influence of the generated images")
    _require_length(influence.real, m, "the influence of the reference images")
    labels = None if clusters is None else cluster_indices(clusters, n, "clusters")
    real_labels = (
        None if real_clusters is None else cluster_indices(real_clusters, m, "real_clusters")
    )
    bare = Estimate(
        value=score.value,
        stderr=None,
        interval=None,
        n=n,
        m=m,
        influence=influence,
        level=level,
        method="influence" if labels is None and real_labels is None else "influence, clustered",
        details=score.details,
        notes=score.notes,
        reason=score.reason,
        clusters=labels,
        real_clusters=real_labels,
        halvings=score.halvings if labels is None and real_labels is None else None,
    )
    if score.value is None or influence.fake is None:
        reason = score.reason or "the metric gives no influence of its images"
        return replace(bare, reason=reason)
    if score.unclustered is not None and (labels is not None or real_labels is not None):
        return replace(bare, reason=score.unclustered)
    share = None if score.bounds is None else _as_share(score.value, score.bounds)
    units, real_units = _effective(n, labels), None if m is None else _effective(m, real_labels)
    if units < 2 or (real_units is not None and real_units < 2):
        what = "images" if labels is None and real_labels is None else "clusters"
        few = f"a standard error needs at least 2 {what} on each side"
        return replace(bare, reason=few)
    first = variance_of_mean(influence.fake, labels), variance_of_mean(influence.real, real_labels)
    spread = Spread.sum(first)
    inflation = _inflation(influence, spread)
    law = None if score.law is None else _clustered(score.law, inflation)
    if law is not None:
        variance = law.variance_at(score.value) + score.extra_variance
    elif score.extra_variance < 0:
        variance = spread.variance + score.extra_variance * inflation
    else:
        variance = spread.variance + score.extra_variance
    stderr = max(0.0, variance) ** 0.5
    if influence.real is None and m is not None:
        bare = replace(bare, notes=(*bare.notes, _FIXED_REFERENCE))
    if share is None and stderr == 0:
        unknown = "no image moved it more than another, so its spread is unknown"
        return replace(bare, stderr=stderr, reason=unknown)
    if share is None:
        quantile = quantile_of(level, spread.degrees)
        half = quantile * stderr
        interval = (score.value - half, score.value + half)
        if law is not None:
            more = replace(law, null_variance=law.null_variance + score.extra_variance)
            interval = more.interval(score.value, quantile)
    else:
        clustered = labels is not None or real_labels is not None
        quantile = quantile_of(level, spread.degrees if clustered else None)
        trials = min(units, units if real_units is None else real_units)
        lower, upper = _wilson(share, stderr, quantile, trials, score.bounds or (0.0, 1.0))
        # Rounding must not exclude the value itself.
        interval = (min(lower, score.value), max(upper, score.value))
    return replace(bare, stderr=stderr, interval=interval, degrees=spread.degrees, law=law)


_FIXED_REFERENCE = "the interval is for this very reference: that it is a sample is not counted"


@dataclass(frozen=True)
class Spread:
    """A variance and its degrees of freedom (None: so many that they do not matter)."""

    variance: float
    degrees: float | None = None

    @classmethod
    def sum(cls, parts: Iterable[Spread]) -> Spread:
        """Of independent parts together, with the degrees of Satterthwaite (1946)."""
        known = list(parts)
        variance = sum(part.variance for part in known)
        wobble = sum(part.variance**2 / part.degrees for part in known if part.degrees)
        return cls(variance, variance**2 / wobble if wobble > 0 else None)


def variance_of_mean(influence: Tensor | None, clusters: Tensor | None = None) -> Spread:
    """Variance of a value from the influences of one side, in squared units of the value.

    The sum s_g of the g-th cluster, which holds the share w_g of the images, enters as
    s_g²/(1 - w_g): without bias for clusters of any sizes where images are independent (the CR2
    of Bell & McCaffrey 2002). The degrees of freedom are theirs: one less than the clusters where
    sizes are equal, fewer where they are not. A single image is a cluster of one.

    Args:
        influence: float64 ``[n]``; None for a side that does not enter.
        clusters: int64 ``[n]`` from 0, or None.
    """
    if influence is None:
        return Spread(0.0)
    n = len(influence)
    centred = influence.double().cpu() - influence.double().mean().cpu()
    if clusters is None:
        return Spread(float(centred.square().sum()) / (n * max(1, n - 1)), float(max(1, n - 1)))
    counts = torch.bincount(clusters).double()
    sums = torch.zeros_like(counts).index_add_(0, clusters, centred)
    shares = counts / n
    variance = float((sums.square() / (1 - shares)).sum()) / n**2
    overlap = shares.square() / (1 - shares)
    wobble = shares.square().sum() + overlap.sum().square() - overlap.square().sum()
    return Spread(variance, 1 / float(wobble))


@lru_cache(4096)
def quantile_of(level: float, degrees: float | None) -> float:
    """Half-width, in standard errors, of a two-sided interval: Student's, or normal.

    Raises:
        MetricError: If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise MetricError(f"level is {level}; use a number between 0 and 1, such as 0.95")
    tail = (1 + level) / 2
    return float(stats.norm.ppf(tail) if degrees is None else stats.t.ppf(tail, degrees))


def cluster_indices(clusters: Tensor | Sequence[Any], n: int | None, name: str) -> Tensor:
    """Labels of any kind, ``[n]``, as int64 ``[n]`` from 0.

    Raises:
        MetricError: If there is not one per image.
    """
    labels = clusters.cpu().numpy() if isinstance(clusters, Tensor) else np.asarray(clusters)
    if labels.shape != (n,):
        raise MetricError(f"{name} has shape {labels.shape}; give one label per image ({n})")
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].astype(np.int64))


def _inflation(influence: Influence, clustered: Spread) -> float:
    """How many times clusters multiply the variance of the influences."""
    alone = Spread.sum(variance_of_mean(side) for side in (influence.fake, influence.real))
    return clustered.variance / alone.variance if alone.variance > 0 else 1.0


def _clustered(law: SquaredDistance, inflation: float) -> SquaredDistance:
    """The second order has each image twice, and so the inflation twice."""
    return replace(law.scaled(inflation), bias=law.bias)


def _effective(count: int, labels: Tensor | None) -> float:
    """How many equal clusters these are worth, if images of a cluster were all alike."""
    if labels is None:
        return float(count)
    shares = torch.bincount(labels).double() / count
    return max(1 / float(shares.square().sum()), 2.0 if len(shares) > 1 else 1.0)


def _as_share(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    rounding = 1e-9 * (high - low)
    if not (low < high and low - rounding <= value <= high + rounding):
        raise MetricError(
            f"the value {value} is outside its bounds {bounds}; the metric is at fault"
        )
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _require_length(influence: Tensor | None, count: int | None, what: str) -> None:
    if influence is not None and len(influence) != count:
        raise MetricError(f"{what} has {len(influence)} numbers for {count} images")


def _wilson(
    share: float, stderr: float, quantile: float, most: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Wilson's interval, its number of trials chosen to have this standard error.

    At a bound the share says nothing of its spread; the one of ``1 / (most + 2)`` stands in.
    """
    low, width = bounds[0], bounds[1] - bounds[0]
    error, spread = stderr / width, share * (1 - share)
    if spread > 0 and error > 0:
        trials = spread / error**2
    else:
        usual = (most + 1) / (most + 2) ** 2
        trials = usual / (usual / most + error**2)
    shrink = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / shrink
    half = quantile / shrink * (spread / trials + (quantile / (2 * trials)) ** 2) ** 0.5
    lower, upper = max(0.0, centre - half), min(1.0, centre + half)
    return low + width * lower, low + width * upper
