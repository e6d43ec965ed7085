"""Ranking models by one metric, with ties where the data cannot tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate
from benchgen.stats.multiplicity import holm
from benchgen.stats.paired import Difference, difference

Direction = Literal["lower", "higher", "none"]


@dataclass(frozen=True)
class Ranked:
    """Where a model stands.

    Attributes:
        name: The model.
        rank: 1 + the number of models with a better value; None where its own is undefined, or
            the metric ranks nothing.
        lowest: The best rank that the data allow: 1 + the number significantly better.
        highest: The worst rank that the data allow: all less the number significantly worse.
        tied_with_best: Whether the best model is not significantly better.
    """

    name: str
    rank: int | None
    lowest: int | None
    highest: int | None
    tied_with_best: bool


@dataclass(frozen=True)
class PairTest:
    """Whether the data tell two models apart.

    Attributes:
        first, second: The models.
        difference: The first's value less the second's.
        p: p-value of no difference, Holm-adjusted for all pairs; 1 where the difference has none.
        distinct: Whether it is below alpha. Any of a family of tests is so by chance with a
            probability of at most alpha.
    """

    first: str
    second: str
    difference: Difference
    p: float
    distinct: bool


def rank(
    estimates: Mapping[str, Estimate],
    *,
    direction: Direction,
    shared_reference: bool,
    paired: Callable[[str, str], bool] | bool,
    alpha: float = 0.05,
) -> list[Ranked]:
    """Order models by value, with the ranks that Holm-adjusted pairwise tests leave open.

    All the intervals from ``lowest`` to ``highest`` hold the true ranks at once with a probability
    of at least 1 - alpha; true ties may take any order among themselves.

    Args:
        estimates: One estimate per model, all of one metric.
        direction: Whether lower or higher values are better; with ``"none"``, neither is: models
            stay in the order given, and all ranks are None.
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
    if direction not in ("lower", "higher", "none"):
        raise MetricError(f"direction is {direction!r}; use 'lower', 'higher' or 'none'")
    _require_alpha(alpha)
    if direction == "none":
        return [Ranked(name, None, None, None, False) for name in estimates]
    sign = 1.0 if direction == "lower" else -1.0
    costs = {name: sign * e.value for name, e in estimates.items() if e.value is not None}
    names = sorted(costs, key=lambda name: costs[name])
    tests = comparisons(
        {name: estimates[name] for name in names},
        shared_reference=shared_reference,
        paired=paired,
        alpha=alpha,
    )
    better = {(test.first, test.second) for test in tests if test.distinct}
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


def comparisons(
    estimates: Mapping[str, Estimate],
    *,
    shared_reference: bool,
    paired: Callable[[str, str], bool] | bool,
    alpha: float = 0.05,
) -> list[PairTest]:
    """Who can be told apart from whom: one test for every pair of models, in the order given.

    Pairs without a p-value (a value or a standard error is unknown) are not tested: they do not
    count among the tests that p-values are adjusted for.

    Args:
        estimates: One estimate per model, all of one metric.
        shared_reference: Whether all used the same reference images.
        paired: Whether two models' images are paired, for all or asked per pair of names.
        alpha: Chance of telling any two equal models apart, among all pairs.

    Raises:
        MetricError: If ``alpha`` is not between 0 and 1, or paired images or shared references
            differ in number.
    """
    _require_alpha(alpha)
    found = {
        (a, b): difference(
            estimates[a],
            estimates[b],
            paired=paired(a, b) if callable(paired) else paired,
            shared_reference=shared_reference,
        )
        for a, b in combinations(estimates, 2)
    }
    tested = {pair: one.p for pair, one in found.items() if one.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        PairTest(*pair, one, adjusted.get(pair, 1.0), adjusted.get(pair, 1.0) < alpha)
        for pair, one in found.items()
    ]


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise MetricError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
