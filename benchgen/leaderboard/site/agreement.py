"""Whether the order of models depends on the network that looks at the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from benchgen.report.standings import Column

FEWEST = 3
"""Models with fewer than these have no correlation worth telling."""


@dataclass(frozen=True)
class Agreement:
    """How alike two extractors order the models by one metric.

    Attributes:
        metric: The metric's title.
        extractors: The two.
        models: How many have a score on both.
        correlation: Kendall's tau-b of the scores (Kendall 1945): 1 for the same order, 0 for
            unrelated ones, -1 for the reverse; None where a side knows no order.
        leaders: The best model by each.
        settled: Whether the evidence names another winner on each: neither leader is among those
            tied with the best on the other side.
    """

    metric: str
    extractors: tuple[str, str]
    models: int
    correlation: float | None
    leaders: tuple[str, str]
    settled: bool


def agreements(columns: Sequence[Column]) -> list[Agreement]:
    """Every metric on every two extractors that both ranked at least three models."""
    found = []
    for one, two in combinations(columns, 2):
        if one.metric.id != two.metric.id or one.extractor is None or two.extractor is None:
            continue
        scores = [{c.row.name: c.record.value for c in side.ranked} for side in (one, two)]
        shared = [name for name in scores[0] if name in scores[1]]
        if len(shared) < FEWEST:
            continue
        sides = [[side[name] for name in shared] for side in scores]
        tau = float(stats.kendalltau(*sides).statistic)
        leaders = one.ranked[0].row.name, two.ranked[0].row.name
        found.append(
            Agreement(
                metric=one.metric.title,
                extractors=(one.extractor, two.extractor),
                models=len(shared),
                correlation=None if np.isnan(tau) else tau,
                leaders=leaders,
                settled=not (_may_lead(one, leaders[1]) or _may_lead(two, leaders[0])),
            )
        )
    return found


def _may_lead(column: Column, name: str) -> bool:
    return any(cell.row.name == name and (cell.best or cell.tied) for cell in column.ranked)
