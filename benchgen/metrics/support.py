"""Effective support: how many different images a generator can make, from near-duplicates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    all_rows,
    beyond_first_order,
    require_real,
    require_same_width,
)
from benchgen.metrics.pairs.distances import Distances, nearest

# With fewer collisions (or as many dependent ones as tell no more) a normal interval covers badly.
_ENOUGH_COLLISIONS = 20
_LEVEL = 0.95


class EffectiveSupport:
    """``support`` (Arora & Zhang 2017, arXiv:1706.08224): one over the share of colliding pairs.

    Of n draws from s equally likely images, n(n - 1)/(2s) pairs are expected to be equal: the
    birthday paradox. Here two images collide where they are as near as only a small share of real
    images are to their nearest neighbour.

    Args:
        quantile: Share of real images whose nearest other real image is within the collision
            distance.

    Raises:
        MetricError: If ``quantile`` is not between 0 and 1.
    """

    def __init__(self, quantile: float = 0.01) -> None:
        if not 0 < quantile < 1:
            raise MetricError(
                f"support: quantile is {quantile}; use a number between 0 and 1, such as 0.01"
            )
        self._quantile = quantile

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The quantile of the collision distance."""
        return {"quantile": self._quantile}

    def prepare(self, real: FeatureSet | None) -> _Reference:
        """The collision distance, and the collisions within the reference (rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it holds fewer than 2 images, or a row is bad.
        """
        features = require_real(real, "support")
        _require_pair(features, "real")
        rows = all_rows(features, "real")
        own, _ = nearest(rows, rows, 1, exclude_self=True)
        place = math.ceil(self._quantile * len(rows)) - 1
        squared = float(own[:, 0].sort().values[place])
        collisions = float(_within(rows, squared).sum()) / 2
        return _Reference(features, squared, _pairs(len(rows)) / collisions)

    def compute(self, prepared: _Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``support``.

        Raises:
            MetricError: If ``fake`` has other columns, fewer than 2 images, or a bad row.
        """
        require_same_width(fake, prepared.features)
        _require_pair(fake, "fake")
        counts = _within(all_rows(fake, "fake"), prepared.squared).double().cpu()
        details = {
            "collisions": float(counts.sum()) / 2,
            "collision_distance": math.sqrt(prepared.squared),
            "of_reference": prepared.support,
        }
        notes = (
            (
                "the collision distance is 0, because the reference holds duplicates: only equal "
                "features collide; remove the duplicates, or raise quantile",
            )
            if prepared.squared == 0
            else ()
        )
        return {"support": _score(counts, details, notes)}


@dataclass(frozen=True)
class _Reference:
    """``squared`` is the collision distance squared; ``support`` that of the reference itself."""

    features: FeatureSet
    squared: float
    support: float


def _require_pair(features: FeatureSet, name: str) -> None:
    if features.n < 2:
        raise MetricError(f"support: {name} holds {features.n} row(s); give at least 2 images")


def _pairs(n: int) -> float:
    return n * (n - 1) / 2


def _within(rows: Tensor, squared: float) -> Tensor:
    """How many other rows are within a squared distance of each of ``rows``, int64 ``[n]``."""
    distances = Distances(rows, rows)
    threshold = distances.in_tile_units(torch.tensor(squared, dtype=torch.float64))
    counts = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for above, across, tile in distances.tiles(upper=True):
        close = tile <= threshold.to(tile.device)
        if above == across:
            close = close.triu(1)
        row, column = close.nonzero(as_tuple=True)
        bounds = tile[row, column].double()
        row, column = row + above.start, column + across.start
        inside = distances.in_feature_units(bounds + distances.slack(row, column)) <= squared
        doubtful = (~inside).nonzero()[:, 0]
        inside[doubtful] = distances.exact(row[doubtful], column[doubtful]) <= squared
        counts += torch.bincount(row[inside], minlength=len(rows))
        counts += torch.bincount(column[inside], minlength=len(rows))
    return counts


def _score(counts: Tensor, details: Mapping[str, float], notes: tuple[str, ...]) -> Score:
    """From the collisions of each image, float64 ``[n]``: one over a U-statistic."""
    n, collisions = len(counts), details["collisions"]
    if collisions == 0:
        least = _pairs(n) / -math.log(1 - _LEVEL)
        reason = (
            f"no two of the {n} generated images are within the collision distance; with 95 % "
            f"confidence their effective support is at least {least:.4g} images"
        )
        return Score(None, details={**details, "at_least": least}, notes=notes, reason=reason)
    value = _pairs(n) / collisions
    rows = counts / (n - 1)
    influence = -2 * value**2 * (rows - 1 / value)
    by_row = float((rows - 1 / value).square().mean())
    interaction = max(0.0, 1 / value - 1 / value**2 - 2 * by_row)
    first_order = float(influence.var()) / n
    extra = beyond_first_order(first_order, value**4 * interaction / _pairs(n))
    variance = first_order + extra
    worth = min(collisions, value**2 / variance) if variance > 0 else collisions
    interval = _garwood(worth)
    details = {
        **details,
        "at_least": value * worth / interval[1],
        "at_most": value * worth / interval[0],
    }
    if worth < _ENOUGH_COLLISIONS:
        reason = (
            f"the {collisions:g} collisions tell as much as {worth:.3g} independent ones; a normal "
            f"interval needs {_ENOUGH_COLLISIONS}: see at_least and at_most, or score more images"
        )
        return Score(value, details=details, notes=notes, reason=reason)
    return Score(value, influence, None, extra, details, notes)


def _garwood(count: float) -> tuple[float, float]:
    """Interval for the mean of a Poisson count (Garwood 1936)."""
    tail = (1 - _LEVEL) / 2
    return (
        float(stats.chi2.ppf(tail, 2 * count)) / 2,
        float(stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2,
    )
