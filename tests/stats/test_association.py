"""Association and amplification: level where nothing hangs together, closed forms where it does."""

import numpy as np
import pytest
from scipy import stats

from benchgen.errors import MetricError
from benchgen.stats.association import amplification, association, zhao_amplification

GIVEN = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])


def drawn(given: np.ndarray, n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    task = random.integers(0, len(given), n)
    kind = (random.random((n, 1)) > given.cumsum(axis=1)[task]).sum(axis=1).clip(max=2)
    return np.stack([task, kind], axis=1)


def test_it_is_the_g_test() -> None:
    table = np.array([[30, 20], [15, 35]])
    found = association(table)
    known = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert not found.exact
    assert found.g == pytest.approx(known.statistic)
    assert found.p == pytest.approx(known.pvalue)


def test_few_images_are_tested_by_drawn_tables() -> None:
    table = np.array([[3, 0], [0, 3]])
    found = association(table)
    assert found.exact
    assert found.p == pytest.approx(stats.fisher_exact(table).pvalue, abs=0.02)


def test_cramers_v_of_independence_is_about_zero() -> None:
    assert association(np.full((4, 5), 50)).v == 0
    assert association(np.diag([50, 50, 50])).v == pytest.approx(1, abs=0.01)


def test_empty_rows_are_left_out_and_one_row_is_refused() -> None:
    table = np.array([[30, 20], [0, 0], [15, 35]])
    assert association(table).p == association(table[[0, 2]]).p
    with pytest.raises(MetricError, match="1 row"):
        association(table[:2])


def test_amplification_of_a_faithful_generator_is_zero_and_covered() -> None:
    values, covered, undirected = [], 0, []
    for repetition in range(150):
        train, made = drawn(GIVEN, 500, repetition), drawn(GIVEN, 500, 1000 + repetition)
        found = amplification(train, made)
        assert found.value is not None
        assert found.interval is not None
        values.append(found.value)
        covered += found.interval[0] <= 0 <= found.interval[1]
        undirected.append(zhao_amplification(train, made))
    assert abs(np.mean(values)) < 3 * np.std(values) / 150**0.5
    assert covered / 150 > 0.9
    assert np.mean(undirected) < -0.005  # the null that it is known for


def test_amplification_of_known_shares() -> None:
    stronger = GIVEN**2 / (GIVEN**2).sum(axis=1, keepdims=True)
    found = amplification(drawn(GIVEN, 60_000, 0), drawn(stronger, 60_000, 1))
    joint = GIVEN / 3
    signs = np.sign(joint - np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    assert found.value == pytest.approx((signs * (stronger - GIVEN)).mean(), abs=0.01)


def test_a_task_without_images_is_named() -> None:
    with pytest.raises(MetricError, match="task 2 has no generated image"):
        amplification(drawn(GIVEN, 100, 0), drawn(GIVEN[:2], 100, 0))
