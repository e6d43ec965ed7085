"""Parity and distance to a target: fair generators pass or stay open, unfair ones are found."""

import numpy as np
import pytest

from benchgen.errors import MetricError
from benchgen.stats.calibrated import Confusion, corrected_shares
from benchgen.stats.parity import distances, parity, ratio
from benchgen.stats.shares import Shares, read_shares


def counted(*counts: int) -> Shares:
    return read_shares(np.repeat(np.arange(len(counts)), counts), tuple("abcdefg"[: len(counts)]))


def test_a_ratio_is_of_two_binomial_counts() -> None:
    found = ratio(counted(40, 60), 0, 1)
    # Clopper-Pearson of 40 in 100: [0.3033, 0.5028], as odds.
    assert found.value == pytest.approx(2 / 3)
    assert found.lower == pytest.approx(0.3033 / 0.6967, rel=1e-3)
    assert found.upper == pytest.approx(0.5028 / 0.4972, rel=1e-3)


def test_what_does_not_occur_has_no_ratio_but_a_bound() -> None:
    none, all_of_it = ratio(counted(0, 50), 0, 1), ratio(counted(0, 50), 1, 0)
    assert none.value == 0
    assert none.lower == 0
    assert none.upper == pytest.approx(0.0766, rel=1e-2)
    assert all_of_it.value is None
    assert all_of_it.upper is None
    assert all_of_it.lower == pytest.approx(1 / 0.0766, rel=1e-2)


@pytest.mark.parametrize(("kinds", "n"), [(2, 100), (7, 100), (7, 1000)])
def test_a_fair_generator_seldom_fails(kinds: int, n: int) -> None:
    failed = 0
    for repetition in range(200):
        labels = np.random.default_rng(repetition).integers(0, kinds, n)
        failed += parity(read_shares(labels, tuple("abcdefg"[:kinds])), 0.8).verdict == "fail"
    assert failed / 200 <= 0.05


def test_verdicts_of_clear_cases() -> None:
    unfair = parity(counted(400, 600), 0.8)
    assert unfair.verdict == "fail"
    assert unfair.worst.kind == "a"
    assert unfair.worst.upper is not None
    assert unfair.worst.upper < 0.8
    assert parity(counted(5000, 5000), 0.8).verdict == "pass"
    few = parity(counted(9, 11), 0.8)
    assert few.verdict == "inconclusive"
    assert few.needed is not None
    assert few.needed > 1000


def test_at_the_threshold_it_fails_in_one_sample_of_twenty_at_most() -> None:
    failed = 0
    for repetition in range(400):
        labels = np.random.default_rng(repetition).random(500) < 1 / 1.8
        failed += parity(read_shares(labels.astype(int), ("a", "b")), 0.8).verdict == "fail"
    assert failed / 400 <= 0.06


def test_a_kind_that_is_dropped_fails() -> None:
    found = parity(counted(100, 100, 0), 0.8)
    assert found.verdict == "fail"
    assert found.worst.kind == "c"


def test_a_kind_that_is_never_read_is_not_surely_absent() -> None:
    perfect = Confusion(
        ("a", "b", "c"), np.hstack([50 * np.eye(3, dtype=int), np.zeros((3, 1), int)])
    )
    shares = corrected_shares(np.repeat([0, 1], [100, 100]), perfect)
    found = ratio(shares, 2, 0)
    assert found.value == 0
    assert found.upper is not None
    assert 0.01 < found.upper < 0.1


def test_correction_brings_its_own_error() -> None:
    labels = np.repeat([0, 1], [400, 600])
    counts = np.array([[18, 2, 0], [2, 18, 0]])
    found = parity(corrected_shares(labels, Confusion(("a", "b"), counts)), 0.8)
    assert found.worst.value == pytest.approx(0.375 / 0.625)
    assert found.verdict == "inconclusive"


def test_distances_are_those_of_the_definitions() -> None:
    found = distances(counted(60, 40), [0.5, 0.5])
    assert found.values["tv"] == pytest.approx(0.1)
    assert found.values["l2"] == pytest.approx(0.02**0.5)
    bhattacharyya = (0.6 * 0.5) ** 0.5 + (0.4 * 0.5) ** 0.5
    assert found.values["hellinger"] == pytest.approx((1 - bhattacharyya) ** 0.5)
    entropy = -(0.55 * np.log2(0.55) + 0.45 * np.log2(0.45))
    each = (1 - 0.6 * np.log2(1 / 0.6) - 0.4 * np.log2(1 / 0.4)) / 2
    mean_entropy = (1 + (1 - 2 * each)) / 2
    assert found.values["jsd"] == pytest.approx((entropy - mean_entropy) ** 0.5)
    steps = distances(counted(60, 0, 40), [0.0, 0.6, 0.4], ordinal=True)
    assert steps.values["wasserstein"] == pytest.approx(0.6)


def test_the_floor_is_what_chance_makes() -> None:
    found = distances(counted(25, 25, 25, 25), [0.25] * 4)
    # E of L2² at the target is (1 - Σp²)/n.
    assert found.floors["l2"] == pytest.approx((0.75 / 100) ** 0.5, rel=0.1)
    assert found.lower == 0
    assert found.p > 0.9


def test_a_target_that_is_missed_is_told() -> None:
    found = distances(counted(700, 300), [0.5, 0.5])
    assert found.p < 0.001
    assert 0.15 < found.lower < 0.2 < found.upper < 0.25


def test_bad_targets_and_thresholds_are_refused() -> None:
    with pytest.raises(MetricError, match="sum to 1"):
        distances(counted(5, 5), [0.5, 0.6])
    with pytest.raises(MetricError, match="at most 1"):
        parity(counted(5, 5), 1.2)
