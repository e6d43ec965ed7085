"""Shares as read and corrected: exact on expected counts, with intervals that cover."""

import numpy as np
import pytest

from benchgen.errors import MetricError
from benchgen.stats.calibrated import Confusion, corrected_shares
from benchgen.stats.shares import UNKNOWN, powered_shares, read_shares

NAMES = ("a", "b", "c")
RATES = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.05, 0.1, 0.85]])


def expected_readings(shares: list[float], rates: np.ndarray, n: int) -> np.ndarray:
    """Labels with exactly the counts that are expected; a column beyond the kinds is unread."""
    counts = np.rint(n * np.array(shares) @ rates).astype(int)
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.where(labels == len(shares), UNKNOWN, labels)


def confusion_of(rates: np.ndarray, each: int) -> Confusion:
    counts = np.zeros((len(rates), len(rates) + 1), dtype=np.int64)
    counts[:, : rates.shape[1]] = np.rint(each * rates)
    return Confusion(NAMES[: len(rates)], counts)


def test_read_shares_are_counts_and_unknown_is_a_kind_of_its_own() -> None:
    shares = read_shares([0, 0, 1, UNKNOWN], NAMES)
    assert shares.names == (*NAMES, "unknown")
    assert shares.values.tolist() == [0.5, 0.25, 0.0, 0.25]
    assert read_shares([0, 0, 1], NAMES).names == NAMES


def test_covariance_is_the_multinomial_one() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    covariance, degrees = read_shares(labels, NAMES).covariance
    p = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(covariance, (np.diag(p) - np.outer(p, p)) / 99, atol=1e-12)
    assert degrees is None


def test_clusters_widen_intervals() -> None:
    labels = np.repeat([0, 1] * 10, 20)
    alone = read_shares(labels, NAMES).estimates()["a"]
    together = read_shares(labels, NAMES, clusters=np.repeat(np.arange(20), 20)).estimates()["a"]
    assert alone.stderr is not None
    assert together.stderr == pytest.approx(alone.stderr * 20**0.5, rel=0.03)


@pytest.mark.parametrize("truth", [[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]])
def test_correction_returns_the_truth_on_expected_counts(truth: list[float]) -> None:
    labels = expected_readings(truth, RATES, 100_000)
    found = corrected_shares(labels, confusion_of(RATES, 1000))
    np.testing.assert_allclose(found.values, truth, atol=1e-9)


def test_kinds_may_be_unread_unequally_often() -> None:
    rates = np.array([[0.7, 0.1, 0.2], [0.05, 0.9, 0.05]])
    labels = expected_readings([0.3, 0.7], rates, 10_000)
    found = corrected_shares(labels, confusion_of(rates, 100))
    np.testing.assert_allclose(found.values, [0.3, 0.7], atol=1e-9)


def test_influence_is_the_derivative() -> None:
    labels = expected_readings([0.2, 0.3, 0.5], RATES, 1000)
    confusion = confusion_of(RATES, 100)
    found = corrected_shares(labels, confusion)
    more = corrected_shares(np.append(labels, 1), confusion)
    first = np.flatnonzero(labels == 1)[0]
    moved = (more.values - found.values) * 1001
    np.testing.assert_allclose(moved, found.influence[first].numpy(), atol=1e-9)
    assert found.calibration is not None
    counts = confusion.counts.copy()
    counts[2, 0] += 1
    moved = (corrected_shares(labels, Confusion(NAMES, counts)).values - found.values) * 300
    item = int(confusion.counts[:2].sum())  # the first image that is c and read as a
    np.testing.assert_allclose(moved, found.calibration[item].numpy(), rtol=0.03, atol=1e-3)


def test_powered_shares_are_exact_where_all_is_known_of_the_few() -> None:
    truth = np.repeat([0, 1, 2], [200, 300, 500])
    read = np.where(np.arange(1000) % 10 == 0, 0, truth)  # a tenth is read as a
    known = np.where(np.arange(1000) % 2 == 0, truth, UNKNOWN)
    found = powered_shares(read, known, NAMES)
    assert found.values.sum() == pytest.approx(1)
    assert found.values[0] == pytest.approx(0.28 + (0.2 - 0.36), abs=1e-9)


def _coverage(kind: str, repetitions: int) -> float:
    truth = np.array([0.2, 0.3, 0.5])
    cumulated = RATES.cumsum(axis=1)
    covered = 0
    for repetition in range(repetitions):
        random = np.random.default_rng(repetition)
        clusters = None
        is_truly = random.choice(3, 600, p=truth)
        if kind == "clustered":
            clusters = np.repeat(np.arange(60), 10)
            each = random.dirichlet(4 * truth, 60).cumsum(axis=1)[clusters]
            is_truly = (random.random((600, 1)) > each).sum(axis=1)
        read = (random.random((600, 1)) > cumulated[is_truly]).sum(axis=1).clip(max=2)
        if kind == "corrected":
            known = np.repeat(np.arange(3), 80)
            seen = (random.random((240, 1)) > cumulated[known]).sum(axis=1).clip(max=2)
            found = corrected_shares(read, Confusion.of(known, seen, NAMES))
        elif kind == "powered":
            looked = random.permutation(600) < 200
            found = powered_shares(read, np.where(looked, is_truly, UNKNOWN), NAMES)
        else:
            found = read_shares(is_truly, NAMES, clusters=clusters)
        for share, one in zip(truth, found.estimates().values(), strict=True):
            assert one.interval is not None
            covered += one.interval[0] <= share <= one.interval[1]
    return covered / (3 * repetitions)


@pytest.mark.parametrize("kind", ["read", "clustered", "corrected", "powered"])
def test_intervals_cover(kind: str) -> None:
    # 450 intervals, three of a repetition dependent: give or take 0.014.
    assert 0.91 <= _coverage(kind, 150) <= 0.985


def test_an_error_that_happened_not_to_occur_is_not_impossible() -> None:
    perfect = confusion_of(np.eye(3), 20)
    one = corrected_shares(np.repeat([0, 1, 2], 1000), perfect).estimates()["a"]
    assert one.stderr is not None
    sampling = (2 / 9 / 3000) ** 0.5
    assert one.stderr > 1.5 * sampling


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([[5, 5, 0, 0], [5, 5, 0, 0], [0, 0, 10, 0]], "hardly tells"),
        ([[3, 2, 0, 0], [2, 2, 0, 0], [0, 0, 10, 0]], "hardly tells"),
        ([[5, 5, 0, 0], [0, 0, 0, 0], [0, 0, 10, 0]], "truly is b"),
    ],
)
def test_a_labeler_that_tells_nothing_is_refused(counts: list[list[int]], told: str) -> None:
    with pytest.raises(MetricError, match=told):
        corrected_shares([0, 1, 2], Confusion(NAMES, np.array(counts)))


def test_bad_labels_are_refused() -> None:
    with pytest.raises(MetricError, match="from 0 to 7; expected -1"):
        read_shares([0, 7], NAMES)
    with pytest.raises(MetricError, match="at least one image"):
        read_shares([], NAMES)
    with pytest.raises(MetricError, match="two or more different"):
        read_shares([0], ("a", "a"))
    with pytest.raises(MetricError, match="label at least 2"):
        powered_shares([0, 1], [0, UNKNOWN], NAMES)
    with pytest.raises(MetricError, match="no true kind"):
        Confusion.of([UNKNOWN], [0], NAMES)
    with pytest.raises(MetricError, match="reads no image"):
        corrected_shares([UNKNOWN], confusion_of(RATES, 100))
