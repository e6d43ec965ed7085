"""All differences between many estimates at once: what `paired.difference` says, as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.stats.estimates import Estimate
from benchgen.stats.multiplicity import holm_array
from benchgen.stats.paired import Difference, difference, lost_degrees, reaches, without_noise

_CANCELLED = 1e-9
"""Below this share of the variances taken apart, that of a difference is rounding."""

Matrix = np.ndarray
"""float64 or bool ``[k, k]``: of the row's estimate less the column's."""


@dataclass(frozen=True)
class Pairwise:
    """Differences between k estimates, rows less columns; NaN where one is unknown.

    Attributes:
        value: In units of the values.
        stderr: Standard error.
        p: Two-sided p-value of no difference.
    """

    value: Matrix
    stderr: Matrix
    p: Matrix

    def among(self, places: Sequence[int]) -> Pairwise:
        """Those between some of the estimates alone."""
        at = np.ix_(places, places)
        return Pairwise(self.value[at], self.stderr[at], self.p[at])

    def adjusted(self) -> Matrix:
        """p-values, Holm-adjusted over all pairs that have one; 1 where there is none."""
        found = np.ones_like(self.p)
        rows, columns = np.triu_indices(len(self.p), 1)
        tested = ~np.isnan(self.p[rows, columns])
        rows, columns = rows[tested], columns[tested]
        found[rows, columns] = found[columns, rows] = holm_array(self.p[rows, columns])
        return found


def differences(
    estimates: Sequence[Estimate], *, paired: Matrix | bool, shared_reference: bool
) -> Pairwise:
    """Compare each of k estimates of one metric with each other one.

    Args:
        estimates: All of one metric.
        paired: Whether two models' images are paired: for all, or bool ``[k, k]``.
        shared_reference: Whether all used the same reference images.

    Raises:
        MetricError: As ``paired.difference``.
    """
    k = len(estimates)
    pairs = np.broadcast_to(np.asarray(paired, dtype=bool), (k, k))
    found = Pairwise(*(np.full((k, k), np.nan) for _ in range(3)))
    plain = np.array([_is_plain(one) for one in estimates], dtype=bool)
    alone = ~np.logical_and.outer(plain, plain)
    together = np.flatnonzero(plain)
    if len(together) > 1:
        at = _Places.of(len(together))
        i, j = together[at.row], together[at.column]
        some = [estimates[place] for place in together.tolist()]
        value, stderr, p, one_by_one = _at_once(some, at, pairs[i, j], shared_reference)
        found.value[i, j], found.value[j, i] = value, -value
        found.stderr[i, j] = found.stderr[j, i] = stderr
        found.p[i, j] = found.p[j, i] = p
        alone[i, j] = one_by_one
    for i, j in np.argwhere(np.triu(alone, 1)).tolist():
        one = difference(
            estimates[i],
            estimates[j],
            paired=bool(pairs[i, j]),
            shared_reference=shared_reference,
        )
        _put(found, i, j, one)
    return found


def _put(found: Pairwise, i: int, j: int, one: Difference) -> None:
    for at, sign in (((i, j), 1.0), ((j, i), -1.0)):
        found.value[at] = np.nan if one.value is None else sign * one.value
        found.stderr[at] = np.nan if one.stderr is None else one.stderr
        found.p[at] = np.nan if one.p is None else one.p


def _is_plain(one: Estimate) -> bool:
    known = one.value is not None and one.stderr is not None
    return known and one.clusters is None and one.real_clusters is None


@dataclass(frozen=True)
class _Places:
    """Every two of k estimates once: the places of the first and of the second, ``[pairs]``."""

    row: np.ndarray
    column: np.ndarray

    @classmethod
    def of(cls, k: int) -> _Places:
        return cls(*np.triu_indices(k, 1))

    def both(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each of the two has of its own."""
        return own[self.row], own[self.column]


def _at_once(
    estimates: Sequence[Estimate], at: _Places, paired: np.ndarray, shared_reference: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, standard errors and p-values; and which pairs are to be looked at one by one."""
    first, second = at.both(np.array([one.value for one in estimates], dtype=np.float64))
    value = first - second
    shared = np.full_like(paired, shared_reference)
    fake = _Side.of([one.influence.fake for one in estimates], at, paired)
    real = _Side.of([one.influence.real for one in estimates], at, shared)
    variance = fake.variance + real.variance
    wobble = fake.wobble + real.wobble
    apart = fake.apart + real.apart
    own = np.hypot(*at.both(np.array([one.stderr for one in estimates], dtype=np.float64)))
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(wobble > 0, variance**2 / wobble, np.inf)
        lost = at.both(np.array([lost_degrees(one) for one in estimates]))
        degrees = np.minimum(degrees, np.minimum(*lost))
        left = np.where(apart > 0, np.sqrt(variance / apart), 1.0)
        halved = _halvings(estimates, at, paired | shared)
        left = np.where(np.isnan(halved), left, halved)
        lawful, noise = _second_orders(estimates, at, paired, shared)
        lawful &= own > 0
        left = np.where(lawful, np.sqrt(without_noise(variance, noise)) / own, left)
        ends = np.array([reaches(one) for one in estimates])
        (down, other_down), (up, other_up) = at.both(ends[:, 0]), at.both(ends[:, 1])
        error = left * np.where(value > 0, np.hypot(down, other_up), np.hypot(up, other_down))
        certain = np.where(value == 0, 1.0, 0.0)
        tail = np.where(error == 0, certain, _tails(np.abs(value) / error, degrees))
    one_by_one = (variance < _CANCELLED * apart) | fake.unequal | real.unequal
    return value, left * own, np.minimum(1.0, 2 * tail), one_by_one


def _tails(ratio: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Probabilities beyond, of Student's t or normal."""
    known = np.isfinite(degrees)
    found = np.empty_like(ratio)
    found[known] = stats.t.sf(ratio[known], degrees[known])
    found[~known] = stats.norm.sf(ratio[~known])
    return found


@dataclass(frozen=True)
class _Side:
    """What one side adds to the variances of all differences, each ``[pairs]``.

    Attributes:
        variance: With what is shared taken out.
        wobble: Squared variances over degrees of freedom, summed over independent parts.
        apart: The variances of both sides, as if nothing were shared.
        unequal: Pairs that are said to share images, and differ in their number.
    """

    variance: np.ndarray
    wobble: np.ndarray
    apart: np.ndarray
    unequal: np.ndarray

    @classmethod
    def of(cls, influences: Sequence[Tensor | None], at: _Places, shared: np.ndarray) -> _Side:
        counts = np.array([0 if one is None else len(one) for one in influences])
        covariance = np.zeros((len(counts), len(counts)))
        for n in set(counts[counts > 0].tolist()):
            alike = np.flatnonzero(counts == n)
            rows = torch.stack([influences[i] for i in alike.tolist()]).double().cpu()  # type: ignore[misc]
            rows -= rows.mean(dim=1, keepdim=True)
            covariance[np.ix_(alike, alike)] = (rows @ rows.T).numpy() / (n * max(1, n - 1))
        own = covariance.diagonal()
        degrees = np.where(counts > 0, np.maximum(1.0, counts - 1.0), np.inf)
        apart = np.add(*at.both(own))
        together = np.maximum(0.0, apart - 2 * covariance[at.row, at.column])
        one, other = at.both(counts)
        both = shared & (one > 0) & (other > 0)
        joint = both & (one == other)
        return cls(
            variance=np.where(joint, together, apart),
            wobble=np.where(
                joint, together**2 / degrees[at.row], np.add(*at.both(own**2 / degrees))
            ),
            apart=apart,
            unequal=both & (one != other),
        )


def _halvings(estimates: Sequence[Estimate], at: _Places, sharing: np.ndarray) -> np.ndarray:
    """What sharing images leaves of the standard error; NaN where halving did not measure it."""
    k = len(estimates)
    found = np.full((k, k), np.nan)
    lengths = [0 if one.halvings is None else len(one.halvings) for one in estimates]
    for length in set(lengths) - {0}:
        alike = [i for i, own in enumerate(lengths) if own == length]
        rows = torch.stack([estimates[i].halvings.double() for i in alike]).numpy()  # type: ignore[union-attr]
        squares = (rows**2).sum(axis=1)
        apart = squares[:, None] + squares
        differing = np.maximum(0.0, apart - 2 * rows @ rows.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[np.ix_(alike, alike)] = np.sqrt(differing / apart)
    return np.where(sharing, found[at.row, at.column], np.nan)


def _second_orders(
    estimates: Sequence[Estimate], at: _Places, paired: np.ndarray, shared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are of squared distances, and the second order of each difference."""
    k = len(estimates)
    laws = [one.law for one in estimates]
    drawn = [i for i, law in enumerate(laws) if law is not None and law.draws is not None]
    found = np.zeros(len(paired))
    shapes = {tuple(laws[i].draws.shape) for i in drawn}  # type: ignore[union-attr]
    for shape in shapes:
        alike = [i for i in drawn if tuple(laws[i].draws.shape) == shape]  # type: ignore[union-attr]
        draws = torch.stack([laws[i].draws.double() for i in alike]).numpy()  # type: ignore[union-attr]
        squares, products = np.zeros((k, shape[0])), np.zeros((shape[0], k, k))
        squares[alike] = (draws**2).mean(axis=2)
        parts = draws.transpose(1, 0, 2)
        products[np.ix_(range(shape[0]), alike, alike)] = (
            parts @ parts.transpose(0, 2, 1) / shape[1]
        )
        inside = np.isin(np.arange(k), alike)
        some = np.logical_and(*at.both(inside))
        for part, common in enumerate((paired, paired & shared, shared)):
            apart = np.add(*at.both(squares[:, part]))
            differing = np.maximum(0.0, apart - 2 * products[part, at.row, at.column])
            found += np.where(some, np.where(common, differing, apart), 0.0)
    return np.logical_and(*at.both(np.array([law is not None for law in laws]))), found
