"""Ranking models by one metric, with ties where the data cannot tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate
from benchgen.stats.pairwise import Pairwise, differences

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
class Contest:
    """Models by one metric, each compared with each other one.

    Attributes:
        names: Those with a value, the best first; in the order given where the metric ranks none.
        values: Their values, float64 ``[k]``.
        undefined: Those without a value, in the order given.
        direction: Whether lower or higher values are better.
        differences: Between ``names``; None where the metric ranks nothing.
        alpha: Chance of any false ordering among all pairs.
    """

    names: tuple[str, ...]
    values: np.ndarray
    undefined: tuple[str, ...]
    direction: Direction
    differences: Pairwise | None
    alpha: float

    @cached_property
    def distinct(self) -> np.ndarray:
        """Which two models the data tell apart, over all pairs at once (Holm): bool ``[k, k]``."""
        if self.differences is None:
            return np.zeros((len(self.names), len(self.names)), dtype=bool)
        return self.differences.adjusted() < self.alpha

    def among(self, names: Collection[str]) -> Contest:
        """The contest of some of the models alone."""
        kept = [place for place, name in enumerate(self.names) if name in names]
        return replace(
            self,
            names=tuple(self.names[place] for place in kept),
            values=self.values[kept],
            undefined=tuple(name for name in self.undefined if name in names),
            differences=self.differences and self.differences.among(kept),
        )

    def ranked(self) -> list[Ranked]:
        """Best first; models without a value last. Without a direction all ranks are None."""
        unranked = self.undefined if self.differences else (*self.names, *self.undefined)
        last = [Ranked(name, None, None, None, False) for name in unranked]
        if self.differences is None:
            return last
        # Names are in order, so a distinct one before is better, and one after is worse.
        better, worse = np.tril(self.distinct).sum(axis=1), np.triu(self.distinct).sum(axis=1)
        costs = self.values if self.direction == "lower" else -self.values
        ranks = 1 + np.searchsorted(costs, costs)
        return [
            Ranked(
                name,
                rank=int(ranks[place]),
                lowest=1 + int(better[place]),
                highest=len(self.names) - int(worse[place]),
                tied_with_best=not self.distinct[place, 0],
            )
            for place, name in enumerate(self.names)
        ] + last


def contest(
    estimates: Mapping[str, Estimate],
    *,
    direction: Direction,
    shared_reference: bool,
    paired: Mapping[str, Hashable] | bool,
    alpha: float = 0.05,
) -> Contest:
    """Compare models by value, each with each other one, by Holm-adjusted pairwise tests.

    Args:
        estimates: One estimate per model, all of one metric.
        direction: Whether lower or higher values are better; with ``"none"``, neither is.
        shared_reference: Whether all used the same reference images.
        paired: Whether models' images are paired: for all of them, or by name what they share;
            models are paired where they share the same, and never where that is None.
        alpha: Chance of any false ordering among all pairs.

    Raises:
        MetricError: If ``direction`` or ``alpha`` is none of the possible, or paired images or
            shared references differ in number.
    """
    if direction not in ("lower", "higher", "none"):
        raise MetricError(f"direction is {direction!r}; use 'lower', 'higher' or 'none'")
    _require_alpha(alpha)
    defined = {name: e.value for name, e in estimates.items() if e.value is not None}
    undefined = tuple(name for name in estimates if name not in defined)
    names, found = [*defined], None
    if direction != "none":
        names.sort(key=lambda name: defined[name], reverse=direction == "higher")
        found = differences(
            [estimates[name] for name in names],
            paired=paired if isinstance(paired, bool) else _pairs([paired[n] for n in names]),
            shared_reference=shared_reference,
        )
    values = np.array([defined[name] for name in names], dtype=np.float64)
    return Contest(tuple(names), values, undefined, direction, found, alpha)


def rank(
    estimates: Mapping[str, Estimate],
    *,
    direction: Direction,
    shared_reference: bool,
    paired: Mapping[str, Hashable] | bool,
    alpha: float = 0.05,
) -> list[Ranked]:
    """Order models by value, with the ranks that the tests of a ``contest`` leave open.

    All the intervals from ``lowest`` to ``highest`` hold the true ranks at once with a probability
    of at least 1 - alpha; true ties may take any order among themselves.

    Returns:
        Best first; models without a value last, in the order given. Models whose standard error is
        unknown are told apart from none.

    Raises:
        MetricError: As ``contest``.
    """
    return contest(
        estimates,
        direction=direction,
        shared_reference=shared_reference,
        paired=paired,
        alpha=alpha,
    ).ranked()


def _pairs(shared: list[Hashable]) -> np.ndarray:
    codes = {what: code for code, what in enumerate(dict.fromkeys(shared)) if what is not None}
    numbers = np.array([codes.get(what, -1) for what in shared], dtype=np.int64)
    pairs: np.ndarray = (numbers[:, None] == numbers) & (numbers >= 0)
    np.fill_diagonal(pairs, False)
    return pairs


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise MetricError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
