"""Ranking models by one metric, with ties where the data cannot tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate
from benchgen.stats.pairwise import differences

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
    asked = paired if callable(paired) else lambda _a, _b: paired
    pairs = [[a != b and asked(a, b) for b in names] for a in names]
    found = differences(
        [estimates[name] for name in names],
        paired=np.array(pairs, dtype=bool).reshape(len(names), len(names)),
        shared_reference=shared_reference,
    )
    # Names are in order, so a distinct one before is better, and one after is worse.
    distinct = found.adjusted() < alpha
    better, worse = np.tril(distinct).sum(axis=1), np.triu(distinct).sum(axis=1)
    values = np.array([costs[name] for name in names])
    ranked = [
        Ranked(
            name,
            rank=1 + int((values < values[place]).sum()),
            lowest=1 + int(better[place]),
            highest=len(names) - int(worse[place]),
            tied_with_best=not distinct[place, 0],
        )
        for place, name in enumerate(names)
    ]
    undefined = [Ranked(name, None, None, None, False) for name in estimates if name not in costs]
    return ranked + undefined


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise MetricError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
