"""Ranking models by one metric, with ties where the data cannot tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate
from benchgen.stats.multiplicity import holm
from benchgen.stats.paired import difference


@dataclass(frozen=True)
class Ranked:
    """Where a model stands.

    Attributes:
        name: The model.
        rank: 1 + the number of models with a better value; None where its own is undefined.
        lowest: The best rank that the data allow: 1 + the number significantly better.
        highest: The worst rank that the data allow: all less the number significantly worse.
        tied_with_best: Whether the best model is not significantly better.
    """

    name: str
    rank: int | None
    lowest: int | None
    highest: int | None
    tied_with_best: bool


def rank(
    estimates: Mapping[str, Estimate],
    *,
    direction: Literal["lower", "higher"],
    shared_reference: bool,
    paired: Callable[[str, str], bool] | bool,
    alpha: float = 0.05,
) -> list[Ranked]:
    """Order models by value, with the ranks that Holm-adjusted pairwise tests leave open.

    Args:
        estimates: One estimate per model, all of one metric.
        direction: Whether lower or higher values are better.
        shared_reference: Whether all used the same reference images.
        paired: Whether two models' images are paired, for all or asked per pair of names.
        alpha: Chance of any false ordering among all pairs.

    Returns:
        Best first; models without a value last, in the order given. Models whose standard error is
        unknown are told apart from none.

    Raises:
        MetricError: If ``direction`` or ``alpha`` is none of the possible, or paired images or
            shared references differ in number.
    """
    if direction not in ("lower", "higher"):
        raise MetricError(f"direction is {direction!r}; use 'lower' or 'higher'")
    if not 0 < alpha < 1:
        raise MetricError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
    sign = 1.0 if direction == "lower" else -1.0
    costs = {name: sign * e.value for name, e in estimates.items() if e.value is not None}
    names = sorted(costs, key=lambda name: costs[name])
    better = _significantly_better(names, estimates, shared_reference, paired, alpha)
    ranked = [
        Ranked(
            name,
            rank=1 + sum(costs[other] < costs[name] for other in names),
            lowest=1 + sum((other, name) in better for other in names),
            highest=len(names) - sum((name, other) in better for other in names),
            tied_with_best=(names[0], name) not in better,
        )
        for name in names
    ]
    undefined = [Ranked(name, None, None, None, False) for name in estimates if name not in costs]
    return ranked + undefined


def _significantly_better(
    names: list[str],
    estimates: Mapping[str, Estimate],
    shared_reference: bool,
    paired: Callable[[str, str], bool] | bool,
    alpha: float,
) -> set[tuple[str, str]]:
    """The pairs (better, worse) that differ after Holm's adjustment; ``names`` are best first."""
    pairs = list(combinations(names, 2))
    p_values = []
    for first, second in pairs:
        is_paired = paired(first, second) if callable(paired) else paired
        test = difference(
            estimates[first],
            estimates[second],
            paired=is_paired,
            shared_reference=shared_reference,
        )
        p_values.append(1.0 if test.p is None else test.p)
    return {pair for pair, p in zip(pairs, holm(p_values), strict=True) if p < alpha}
