from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchgen.errors import MetricError
from benchgen.stats.proportions import (
    Share,
    clopper_pearson,
    goodman,
    newcombe,
    newcombe_paired,
    wilson,
)

proportion = pytest.importorskip("statsmodels.stats.proportion")
contingency_tables = pytest.importorskip("statsmodels.stats.contingency_tables")

SHARES = np.linspace(0.01, 0.99, 99)


def covers(found: list[Share], n: int) -> np.ndarray:
    """Chance that the interval of a binomial count holds the share, for each of ``SHARES``."""
    lower, upper = np.array([one.interval for one in found]).T
    chances = stats.binom.pmf(np.arange(n + 1), n, SHARES[:, None])
    inside = (lower <= SHARES[:, None]) & (SHARES[:, None] <= upper)
    return (chances * inside).sum(axis=1)


@pytest.mark.parametrize("n", [10, 50, 300])
@pytest.mark.parametrize(("function", "name"), [(wilson, "wilson"), (clopper_pearson, "beta")])
def test_intervals_are_those_of_statsmodels(function, name, n):
    for count in (0, 1, n // 3, n - 1, n):
        expected = proportion.proportion_confint(count, n, 0.1, name)
        assert function(count, n, level=0.9).interval == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [20, 100])
def test_wilson_covers_on_average(n):
    found = covers([wilson(count, n) for count in range(n + 1)], n)
    assert found.mean() == pytest.approx(0.95, abs=0.01)
    assert found.min() > 0.83


@pytest.mark.parametrize("side", ["two-sided", "upper", "lower"])
@pytest.mark.parametrize("n", [5, 20, 100])
def test_clopper_pearson_never_covers_less(n, side):
    found = covers([clopper_pearson(count, n, side=side) for count in range(n + 1)], n)
    assert found.min() >= 0.95
    assert found.min() < 0.99 or side == "two-sided"


def test_one_sided_bounds():
    # The rule of three: none of 100 seen.
    assert clopper_pearson(0, 100, side="upper").interval == pytest.approx((0.0, 0.02951), abs=1e-5)
    assert clopper_pearson(100, 100, side="lower").interval == pytest.approx((0.97049, 1), abs=1e-5)
    upper = wilson(3, 50, side="upper")
    assert upper.interval == pytest.approx((0.0, wilson(3, 50, level=0.9).upper))
    assert wilson(3, 50, side="lower").interval == pytest.approx(
        (wilson(3, 50, level=0.9).lower, 1.0)
    )


@pytest.mark.parametrize("count", [0, 40])
def test_a_share_at_its_end_is_inside(count):
    for one in (wilson(count, 40), clopper_pearson(count, 40)):
        assert one.lower <= one.value <= one.upper
        assert one.upper - one.lower > 0.05


def test_goodman_is_that_of_statsmodels_and_covers_all_at_once():
    counts = [3, 17, 80, 0]
    expected = proportion.multinomial_proportions_confint(counts, 0.05, "goodman")
    found = [one.interval for one in goodman(counts)]
    assert np.array(found) == pytest.approx(expected, abs=1e-12)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    n, held = 60, 0.0
    for draw in np.random.default_rng(0).multinomial(n, shares, size=2000):
        found = goodman([int(count) for count in draw])
        held += all(one.lower <= p <= one.upper for one, p in zip(found, shares, strict=True))
    assert 0.94 < held / 2000 < 0.985


@pytest.mark.parametrize(("p1", "p2"), [(0.5, 0.5), (0.1, 0.3), (0.02, 0.05), (0.9, 0.2)])
def test_newcombe_is_that_of_statsmodels_and_covers(p1, p2):
    n1, n2 = 40, 60
    expected = proportion.confint_proportions_2indep(7, n1, 20, n2, method="newcomb")
    assert newcombe(7, n1, 20, n2).interval == pytest.approx(expected, abs=1e-9)
    chances = np.outer(
        stats.binom.pmf(np.arange(n1 + 1), n1, p1), stats.binom.pmf(np.arange(n2 + 1), n2, p2)
    )
    likely = np.argwhere(chances > 1e-9)
    held = sum(
        chances[x, y]
        for x, y in likely
        if (found := newcombe(int(x), n1, int(y), n2)).lower <= p1 - p2 <= found.upper
    )
    assert 0.93 < held < 0.99


def test_paired_newcombe_by_the_papers_example():
    # Newcombe 1998b, table II: 36 pairs alike, 12 and 2 apart, none with neither.
    assert newcombe_paired(36, 12, 2, 0).interval == pytest.approx((0.0569, 0.3404), abs=1e-4)


@pytest.mark.parametrize("cells", [(0.5, 0.1, 0.1, 0.3), (0.1, 0.2, 0.05, 0.65)])
def test_paired_newcombe_covers(cells):
    truth = cells[1] - cells[2]
    draws = np.random.default_rng(1).multinomial(80, cells, size=3000)
    held = [(one := newcombe_paired(*map(int, draw))).lower <= truth <= one.upper for draw in draws]
    assert 0.935 < np.mean(held) < 0.985


def test_paired_newcombe_agrees_with_mcnemar():
    table = np.array([[30, 15], [4, 51]])
    p = contingency_tables.mcnemar(table, exact=True).pvalue
    found = newcombe_paired(30, 15, 4, 51)
    assert p < 0.05
    assert found.lower > 0
    assert newcombe_paired(5, 0, 0, 5).interval[0] < 0 < newcombe_paired(5, 0, 0, 5).upper


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(5, 4), "5 of 4"),
        (lambda: wilson(-1, 4), "-1 of 4"),
        (lambda: wilson(1.5, 4), "whole numbers"),
        (lambda: wilson(True, 4), "whole numbers"),
        (lambda: clopper_pearson(0, 0), "0 of 0"),
        (lambda: wilson(1, 4, level=95), "between 0 and 1"),
        (lambda: wilson(1, 4, side="both"), "'two-sided', 'upper' or 'lower'"),
        (lambda: goodman([5]), "2 or more"),
        (lambda: goodman([0, 0]), "0 of 0"),
        (lambda: newcombe(1, 2, 3, 2), "3 of 2"),
        (lambda: newcombe_paired(1, -2, 3, 0), "-2 of"),
        (lambda: newcombe_paired(0, 0, 0, 0), "0 of 0"),
    ],
)
def test_bad_counts_are_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()
