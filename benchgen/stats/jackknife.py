"""Uncertainty of a score that tells no influence: groups of images are left out in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
from benchgen.stats.estimates import Estimate, cluster_indices, estimate

Recompute = Callable[[Tensor | None, Tensor | None], float | None]
"""The score on the kept generated and reference images: int64 indices, None for all of them."""


def jackknife(
    score: Score,
    value: Recompute,
    *,
    n: int,
    m: int | None,
    level: float = 0.95,
    clusters: Tensor | Sequence[Any] | None = None,
    groups: int = 20,
    seed: int = 0,
) -> Estimate:
    """The delete-a-group jackknife (Kott 2001) of both sides.

    Images are put into random groups of equal size, and the score is computed again without each
    group. What a group's absence changes is spread evenly over its images as their influence, so
    that the variance of groups' sums is the jackknife's, with Student's t on one degree of freedom
    less than groups. Two estimates with the same n, ``groups`` and ``seed`` have the same groups:
    their paired difference is the jackknife of the difference. Which image of a group moved the
    score is not known.

    It is right for scores that are smooth in the distribution of images; of scores made from
    single neighbours it overstates the error.

    Args:
        score: The value, its details, notes and bounds; influences are not read.
        value: Computes the score again. Called once per group and side.
        n: Number of generated images.
        m: Number of reference images, or None where there is no reference.
        level: Nominal coverage of the interval.
        clusters: One label per generated image, ``[n]``; clusters are kept whole, and groups are
            then as equal as clusters allow.
        groups: How many; fewer where there are fewer images or clusters.
        seed: Of the assignment to groups.

    Returns:
        The estimate, with ``method="jackknife"``; without a standard error, and with the reason,
        where the score is undefined without one of the groups.

    Raises:
        MetricError: If ``groups`` is below 2, or ``clusters`` are not one per image.
    """
    if groups < 2:
        raise MetricError(f"jackknife: groups is {groups}; use 2 or more (20 is usual)")
    labels = None if clusters is None else cluster_indices(clusters, n, "clusters")
    if score.value is None or n < 2 or (labels is not None and int(labels.max()) < 1):
        return replace(estimate(score, n=n, m=m, level=level), method="jackknife")
    fakes = _groups(torch.arange(n) if labels is None else labels, groups, seed)
    reals = real = None
    try:
        fake = _influence(fakes, lambda kept: value(kept, None))
        if m is not None and m > 1:
            reals = _groups(torch.arange(m), groups, seed + 1)
            real = _influence(reals, lambda kept: value(None, kept))
    except MetricError as error:
        unknown = replace(score, reason=f"no standard error by leaving images out: {error}")
        return replace(estimate(unknown, n=n, m=m, level=level), method="jackknife")
    known = replace(score, fake_influence=fake, real_influence=real, extra_variance=0.0)
    found = estimate(known, n=n, m=m, level=level, clusters=fakes, real_clusters=reals)
    return replace(found, method="jackknife")


def _groups(clusters: Tensor, wanted: int, seed: int) -> Tensor:
    """The group of each image, int64 ``[n]``; the largest clusters are placed first."""
    counts = torch.bincount(clusters).numpy()
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]
    group_of = np.zeros(len(counts), dtype=np.int64)
    if counts.max() == counts.min():
        group_of[order] = np.arange(len(counts)) % wanted
    else:
        filled = np.zeros(min(wanted, len(counts)))
        for cluster in order:
            group_of[cluster] = filled.argmin()
            filled[group_of[cluster]] += counts[cluster]
    return torch.from_numpy(group_of)[clusters]


def _influence(groups: Tensor, without: Callable[[Tensor], float | None]) -> Tensor:
    """Float64 ``[n]``: each group's pseudo-value less the mean, the same for all its images."""
    shares = torch.bincount(groups).double() / len(groups)
    values = []
    for group in range(len(shares)):
        kept = (groups != group).nonzero().flatten()
        value = without(kept)
        if value is None or not math.isfinite(value):
            raise MetricError(f"on {len(kept)} of {len(groups)} images the score is {value}")
        values.append(value)
    left = torch.tensor(values, dtype=torch.float64)
    changes = (left.mean() - left) * (1 - shares) / shares
    return (changes - shares @ changes)[groups]
