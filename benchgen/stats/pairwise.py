"""All differences between many estimates at once: what `paired.difference` says, as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.stats.estimates import Estimate, variance_of_mean
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
    together = np.flatnonzero(plain)
    alone = ~np.logical_and.outer(plain, plain)
    if len(together) > 1:
        some = [estimates[i] for i in together.tolist()]
        at = np.ix_(together, together)
        value, stderr, p, one_by_one = _at_once(some, pairs[at], shared_reference)
        found.value[at], found.stderr[at], found.p[at] = value, stderr, p
        alone[at] = one_by_one
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


def _at_once(
    estimates: Sequence[Estimate], paired: Matrix, shared_reference: bool
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Values, standard errors and p-values; and which pairs are to be looked at one by one."""
    k = len(estimates)
    values = np.array([one.value for one in estimates], dtype=np.float64)
    errors = np.array([one.stderr for one in estimates], dtype=np.float64)
    value = values[:, None] - values
    shared = np.full((k, k), shared_reference)
    fake = _Side.of([one.influence.fake for one in estimates], paired)
    real = _Side.of([one.influence.real for one in estimates], shared)
    variance = fake.variance + real.variance
    wobble = fake.wobble + real.wobble
    apart = fake.apart + real.apart
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(wobble > 0, variance**2 / wobble, np.inf)
        lost = np.array([lost_degrees(one) for one in estimates])
        degrees = np.minimum(degrees, np.minimum(lost[:, None], lost))
        own = np.hypot(errors[:, None], errors)
        left = np.where(apart > 0, np.sqrt(variance / apart), 1.0)
        halved = _halvings(estimates, paired | shared)
        left = np.where(np.isnan(halved), left, halved)
        lawful, second = _second_orders(estimates, paired, shared)
        lawful &= own > 0
        left = np.where(lawful, np.sqrt(without_noise(variance, second)) / own, left)
        stderr = left * own
        ends = np.array([reaches(one) for one in estimates])
        down = left * np.hypot(ends[:, None, 0], ends[None, :, 1])
        up = left * np.hypot(ends[:, None, 1], ends[None, :, 0])
        error = np.where(value > 0, down, up)
        ratio = np.abs(value) / error
        tail = _tails(ratio, degrees)
        certain = np.where(value == 0, 1.0, 0.0)
        p = np.minimum(1.0, 2 * np.where(error == 0, certain, tail))
    np.fill_diagonal(p, np.nan)
    one_by_one = (variance < _CANCELLED * apart) | fake.unequal | real.unequal
    return value, stderr, p, one_by_one


def _tails(ratio: Matrix, degrees: Matrix) -> Matrix:
    """Probabilities beyond, of Student's t or normal; both matrices are symmetric."""
    upper = np.triu_indices(len(ratio), 1)
    beyond, own = ratio[upper], degrees[upper]
    known = np.isfinite(own)
    found = np.empty_like(beyond)
    found[known] = stats.t.sf(beyond[known], own[known])
    found[~known] = stats.norm.sf(beyond[~known])
    tail = np.full_like(ratio, 0.5)
    tail[upper] = tail[upper[::-1]] = found
    return tail


@dataclass(frozen=True)
class _Side:
    """What one side adds to the variances of all differences.

    Attributes:
        variance: With what is shared taken out.
        wobble: Squared variances over degrees of freedom, summed over independent parts.
        apart: The variances of both sides, as if nothing were shared.
        unequal: Pairs that are said to share images, and differ in their number.
    """

    variance: Matrix
    wobble: Matrix
    apart: Matrix
    unequal: Matrix

    @classmethod
    def of(cls, influences: Sequence[Tensor | None], shared: Matrix) -> _Side:
        spreads = [variance_of_mean(one) for one in influences]
        own = np.array([spread.variance for spread in spreads])
        degrees = np.array([spread.degrees or np.inf for spread in spreads])
        counts = np.array([0 if one is None else len(one) for one in influences])
        both = shared & np.logical_and.outer(counts > 0, counts > 0)
        equal = counts[:, None] == counts
        covariance = np.zeros_like(shared, dtype=np.float64)
        for n in set(counts[counts > 1].tolist()):
            at = np.flatnonzero(counts == n)
            rows = torch.stack([_centred(influences[i]) for i in at.tolist()])
            covariance[np.ix_(at, at)] = (rows @ rows.T).numpy() / (n * (n - 1))
        apart = own[:, None] + own
        together = np.maximum(0.0, apart - 2 * covariance)
        separate = (own**2 / degrees)[:, None] + own**2 / degrees
        return cls(
            variance=np.where(both & equal, together, apart),
            wobble=np.where(both & equal, together**2 / degrees[:, None], separate),
            apart=apart,
            unequal=both & ~equal,
        )


def _centred(influence: Tensor | None) -> Tensor:
    assert influence is not None
    rows = influence.double().cpu()
    return rows - rows.mean()


def _halvings(estimates: Sequence[Estimate], sharing: Matrix) -> Matrix:
    """What sharing images leaves of the standard error; NaN where halving did not measure it."""
    found = np.full(sharing.shape, np.nan)
    lengths = [0 if one.halvings is None else len(one.halvings) for one in estimates]
    for length in set(lengths) - {0}:
        at = [i for i, own in enumerate(lengths) if own == length]
        rows = torch.stack([estimates[i].halvings.double() for i in at]).numpy()  # type: ignore[union-attr]
        squares = (rows**2).sum(axis=1)
        apart = squares[:, None] + squares
        differing = np.maximum(0.0, apart - 2 * rows @ rows.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[np.ix_(at, at)] = np.sqrt(differing / apart)
    return np.where(sharing, found, np.nan)


def _second_orders(
    estimates: Sequence[Estimate], paired: Matrix, shared: Matrix
) -> tuple[Matrix, Matrix]:
    """Which pairs are of squared distances, and the second order of each difference."""
    laws = [one.law for one in estimates]
    lawful = np.logical_and.outer([x is not None for x in laws], [x is not None for x in laws])
    second = np.zeros(paired.shape)
    drawn = [i for i, law in enumerate(laws) if law is not None and law.draws is not None]
    common = np.stack([paired, paired & shared, shared])
    shapes = {tuple(laws[i].draws.shape) for i in drawn}  # type: ignore[union-attr]
    for shape in shapes:
        at = [i for i in drawn if tuple(laws[i].draws.shape) == shape]  # type: ignore[union-attr]
        draws = torch.stack([laws[i].draws.double() for i in at]).numpy()  # type: ignore[union-attr]
        squares = (draws**2).mean(axis=2)
        apart = squares[:, None] + squares
        products = np.einsum("ipr,jpr->ijp", draws, draws) / draws.shape[2]
        differing = np.maximum(0.0, apart - 2 * products)
        mask = common[:, at][:, :, at].transpose(1, 2, 0)
        second[np.ix_(at, at)] = np.where(mask, differing, apart).sum(axis=2)
    return lawful, second
