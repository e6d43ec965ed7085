"""A score seen statistically: standard error and interval, from the influence of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score


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


def estimate(
    score: Score,
    *,
    n: int,
    m: int | None,
    level: float = 0.95,
    clusters: Tensor | Sequence[Any] | None = None,
) -> Estimate:
    """Turn a score into an estimate: Var = var(fake)/n + var(real)/m + the extra variance.

    Args:
        score: A value with its influences.
        n: Number of generated images.
        m: Number of reference images, or None where the metric has no reference.
        level: Nominal coverage of the interval, between 0 and 1.
        clusters: One label per generated image (its prompt, say), ``[n]``. Influences are summed
            within a cluster first (Liang & Zeger 1986), and the interval uses Student's t with one
            degree of freedom less than there are clusters.

    Returns:
        The estimate. Intervals are normal; those of shares are Wilson's (1927), with as many
        trials as the standard error is worth, so that they stay inside the share's bounds.

    Raises:
        MetricError: If ``level`` is out of range, or an influence or ``clusters`` has another
            length than its number of images.
    """
    if not 0 < level < 1:
        raise MetricError(f"level is {level}; use a number between 0 and 1, such as 0.95")
    influence = Influence(score.fake_influence, score.real_influence)
    _require_length(influence.fake, n, "the influence of the generated images")
    _require_length(influence.real, m, "the influence of the reference images")
    labels = None if clusters is None else _cluster_indices(clusters, n)
    groups = n if labels is None else int(labels.max()) + 1

    def finish(
        stderr: float | None, interval: tuple[float, float] | None, reason: str | None
    ) -> Estimate:
        return Estimate(
            value=score.value,
            stderr=stderr,
            interval=interval,
            n=n,
            m=m,
            influence=influence,
            level=level,
            method="influence" if labels is None else "influence, clustered",
            details=score.details,
            notes=score.notes,
            reason=reason,
        )

    if score.value is None or influence.fake is None:
        return finish(None, None, score.reason or "the metric gives no influence of its images")
    if groups < 2 or m == 1:
        what = "images" if labels is None else "clusters"
        return finish(None, None, f"a standard error needs at least 2 {what} on each side")
    variance = first_order_variance(influence, labels) + score.extra_variance
    stderr = max(0.0, variance) ** 0.5
    degrees = None if labels is None else groups - 1
    quantile = _quantile(level, degrees)
    if score.bounds is None and stderr == 0:
        return finish(stderr, None, "no image moved it more than another, so its spread is unknown")
    if score.bounds is None:
        interval = (score.value - quantile * stderr, score.value + quantile * stderr)
    else:
        trials = min(groups, m or groups)
        interval = _wilson(score.value, stderr, quantile, trials, score.bounds)
    return finish(stderr, interval, score.reason)


def first_order_variance(influence: Influence, labels: Tensor | None = None) -> float:
    """Variance of a value from the influences on it, in squared units of the value.

    ``labels`` int64 ``[n]`` are clusters of generated images, numbered from 0.
    """
    fake = 0.0 if influence.fake is None else _variance_of_mean(influence.fake, labels)
    real = 0.0 if influence.real is None else _variance_of_mean(influence.real, None)
    return fake + real


def _variance_of_mean(influence: Tensor, labels: Tensor | None) -> float:
    centred = influence.double() - influence.double().mean()
    n = len(centred)
    if labels is None:
        groups, sums = n, centred
    else:
        groups = int(labels.max()) + 1
        sums = torch.zeros(groups, dtype=torch.float64).index_add_(0, labels, centred)
    if groups < 2:
        return 0.0
    return float(sums.square().sum()) / n**2 * groups / (groups - 1)


def _require_length(influence: Tensor | None, count: int | None, what: str) -> None:
    if influence is not None and len(influence) != count:
        raise MetricError(f"{what} has {len(influence)} numbers for {count} images")


def _cluster_indices(clusters: Tensor | Sequence[Any], n: int) -> Tensor:
    labels = clusters.cpu().numpy() if isinstance(clusters, Tensor) else np.asarray(clusters)
    if labels.shape != (n,):
        raise MetricError(f"clusters has shape {labels.shape}; give one label per image ({n})")
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].astype(np.int64))


def _quantile(level: float, degrees: int | None) -> float:
    tail = (1 + level) / 2
    return float(stats.norm.ppf(tail) if degrees is None else stats.t.ppf(tail, degrees))


def _wilson(
    value: float, stderr: float, quantile: float, images: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Wilson's interval, its number of trials chosen to have this standard error.

    At a bound the standard error is zero and says nothing; the number of images stands in.
    """
    low, width = bounds[0], bounds[1] - bounds[0]
    share, error = (value - low) / width, stderr / width
    spread = share * (1 - share)
    trials = spread / error**2 if spread > 0 and error > 0 else float(images)
    shrink = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / shrink
    half = quantile / shrink * (spread / trials + (quantile / (2 * trials)) ** 2) ** 0.5
    lower, upper = max(0.0, centre - half), min(1.0, centre + half)
    # Rounding must not exclude the value itself.
    return low + width * min(lower, share), low + width * max(upper, share)
