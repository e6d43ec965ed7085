"""Whether an attribute hangs on a prompt (or a class, or another attribute), and on which side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, SquaredDistance
from benchgen.stats.estimates import Estimate, estimate

_FEW_EXPECTED = 5
_TABLES = 9999


@dataclass(frozen=True)
class Association:
    """A test that rows and columns of a table of counts are independent.

    Attributes:
        v: Cramér's V in [0, 1], corrected for the bias that chance gives it (Bergsma 2013).
        g: The likelihood ratio statistic.
        p: Of independence.
        exact: Whether ``p`` is from drawn tables, as it is where few images are expected in a
            cell; else from the chi-squared distribution.
    """

    v: float
    g: float
    p: float
    exact: bool


def association(counts: np.ndarray, *, seed: int = 0) -> Association:
    """Test a table of counts ``[rows, columns]`` of independent images.

    The G-test (Sokal & Rohlf 1995); where a cell expects fewer than five images, its p-value is
    (b + 1) / (B + 1) from B = 9,999 tables with the same margins (Patefield 1981).

    Args:
        counts: Images of each combination.
        seed: Of the drawn tables.

    Raises:
        MetricError: If there are fewer than two rows or columns with images.
    """
    table = np.asarray(counts)
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer) or (table < 0).any():
        raise MetricError("an association needs a table of counts, whole numbers from 0")
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    _require_two(table)
    n = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    g = float(_g(table[None], expected)[0])
    exact = bool(expected.min() < _FEW_EXPECTED)
    if exact:
        random = stats.random_table(table.sum(axis=1), table.sum(axis=0))
        drawn = random.rvs(_TABLES, random_state=np.random.default_rng(seed))
        p = (int((_g(drawn, expected) >= g - 1e-9).sum()) + 1) / (_TABLES + 1)
    else:
        p = float(stats.chi2.sf(g, (table.shape[0] - 1) * (table.shape[1] - 1)))
    return Association(_cramer(table, expected), g, p, exact)


def dependence(
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    level: float = 0.95,
    clusters: Sequence[Any] | None = None,
) -> Estimate:
    """Pearson's mean square contingency φ² of two kinds an image has, as an estimate.

    Less its bias (r - 1)(c - 1)/(n - 1), which makes it slightly below zero near independence.
    Cramér's V is the root of φ² over the lesser of r - 1 and c - 1.

    Args:
        rows, columns: Positions of kinds, int ``[n]`` from 0.
        level: Of the interval.
        clusters: One label an image: equal ones are not independent.

    Raises:
        MetricError: If all images are in one row or in one column.
    """
    _, row = np.unique(rows, return_inverse=True)
    _, column = np.unique(columns, return_inverse=True)
    r, c, n = int(row.max()) + 1, int(column.max()) + 1, len(row)
    joint = _table(np.stack([row, column], axis=1), r, c) / n
    _require_two(joint)
    of_row, of_column = joint.sum(axis=1), joint.sum(axis=0)
    terms = np.square(joint) / np.outer(of_row, of_column)
    moved = (
        (2 * joint / np.outer(of_row, of_column))
        - (terms.sum(axis=1) / of_row)[:, None]
        - terms.sum(axis=0) / of_column
    )
    plain, freedom = float(terms.sum()) - 1, (r - 1) * (c - 1)
    influence = torch.from_numpy(moved[row, column])
    law = SquaredDistance.of(float(influence.var()) / n, 2 * freedom / n**2, plain)
    score = Score(plain - freedom / (n - 1), influence, law=law)
    return estimate(score, n=n, m=None, level=level, clusters=clusters)


def _require_two(table: np.ndarray) -> None:
    if min(table.shape) < 2:
        raise MetricError(
            f"the table has {table.shape[0]} row(s) and {table.shape[1]} column(s) with images; "
            "an association needs at least 2 of each"
        )


def amplification(
    wanted: np.ndarray,
    made: np.ndarray,
    *,
    level: float = 0.95,
) -> Estimate:
    """How much more an attribute hangs on the task in what was made than in the training data.

    The directed measure of Wang & Russakovsky 2021 (arXiv:2102.12594), task to attribute: the mean
    over all pairs of sign(P(a, t) - P(a)P(t)) · (P'(a | t) - P(a | t)), P of the training data and
    P' of what was made. Where a generator repeats its training data's dependences it is 0, above 0
    where it strengthens them. Signs that are read from the same images as P(a | t) make it lean
    below 0, so the training images are cut in halves at random: each gives signs for the other.

    Args:
        wanted: Training images, int64 ``[m, 2]``: task and attribute of each, from 0.
        made: Generated images, int64 ``[n, 2]``: the task asked for, the attribute found.
        level: Of the interval.

    Raises:
        MetricError: If a task has no image on one side.
    """
    tasks, kinds = (1 + np.concatenate([wanted, made]).max(axis=0)).tolist()
    halves = np.random.default_rng(0).permutation(len(wanted)) % 2
    value = 0.0
    fake = np.zeros(len(made))
    real = np.zeros(len(wanted))
    found = _given(made, tasks, kinds, "generated")
    for half in (0, 1):
        signs = _signs(wanted[halves == half], tasks, kinds)
        others = np.flatnonzero(halves != half)
        known = _given(wanted[others], tasks, kinds, "training")
        weights = signs / signs.size
        value += float((weights * (found - known)).sum()) / 2
        fake += _influence(made, found, weights) / 2
        real[others] -= _influence(wanted[others], known, weights) / 2 * 2
    score = Score(value, torch.from_numpy(fake), torch.from_numpy(real))
    return estimate(score, n=len(made), m=len(wanted), level=level)


def zhao_amplification(wanted: np.ndarray, made: np.ndarray) -> float:
    """The undirected measure of Zhao et al. 2017 (arXiv:1707.09457), for comparison with others.

    Mean over attributes of the sum, over the tasks with which the attribute goes more often than
    by chance, of P'(t | a) - P(t | a). Its expectation is below 0 where nothing is amplified.

    Args:
        wanted, made: As for ``amplification``.
    """
    tasks, kinds = (1 + np.concatenate([wanted, made]).max(axis=0)).tolist()
    before, after = (_table(pairs, tasks, kinds) for pairs in (wanted, made))
    of_kind = [t / np.maximum(t.sum(axis=0, keepdims=True), 1) for t in (before, after)]
    more = of_kind[0] > 1 / tasks
    return float((more * (of_kind[1] - of_kind[0])).sum() / kinds)


def _g(tables: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(tables > 0, tables * np.log(tables / expected), 0.0)
    found: np.ndarray = 2 * terms.sum(axis=(1, 2))
    return found


def _cramer(table: np.ndarray, expected: np.ndarray) -> float:
    n, (rows, columns) = table.sum(), table.shape
    phi = float((np.square(table - expected) / expected).sum()) / n
    less = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    r, c = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    return float((less / max(1e-12, min(r - 1, c - 1))) ** 0.5)


def _table(pairs: np.ndarray, tasks: int, kinds: int) -> np.ndarray:
    found = np.zeros((tasks, kinds))
    np.add.at(found, (pairs[:, 0], pairs[:, 1]), 1)
    return found


def _given(pairs: np.ndarray, tasks: int, kinds: int, side: str) -> np.ndarray:
    """P(attribute | task), ``[tasks, kinds]``."""
    table = _table(pairs, tasks, kinds)
    totals = table.sum(axis=1, keepdims=True)
    if not totals.all():
        raise MetricError(
            f"task {int(np.flatnonzero(totals[:, 0] == 0)[0])} has no {side} image; leave it out "
            "of the comparison, or give images of it on both sides"
        )
    found: np.ndarray = table / totals
    return found


def _signs(pairs: np.ndarray, tasks: int, kinds: int) -> np.ndarray:
    """1 where task and attribute go together more often than by chance, -1 where less."""
    joint = _table(pairs, tasks, kinds) / len(pairs)
    found: np.ndarray = np.sign(joint - np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    return found


def _influence(pairs: np.ndarray, given: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each image on the weighted sum of P(attribute | task), centred, ``[n]``."""
    task, kind = pairs.T
    shares = np.bincount(task, minlength=len(given)) / len(pairs)
    average = (weights * given).sum(axis=1)
    found: np.ndarray = (weights[task, kind] - average[task]) / shares[task]
    return found
