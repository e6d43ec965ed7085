from __future__ import annotations

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
from benchgen.stats.estimates import estimate, quantile_of, variance_of_mean


def mean_score(values: torch.Tensor, **extra) -> Score:
    return Score(float(values.mean()), values - values.mean(), **extra)


def test_a_mean_has_its_textbook_error():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    seen = estimate(mean_score(values), n=4, m=None)
    assert seen.stderr == pytest.approx(float(values.std()) / 2)
    # Student's t with 3 degrees of freedom.
    assert seen.interval == pytest.approx((4 - 3.182446 * seen.stderr, 4 + 3.182446 * seen.stderr))
    assert seen.degrees == 3
    assert seen.method == "influence"


def test_both_sides_and_the_extra_variance_add_up():
    a, b = torch.randn(50).double(), torch.randn(70).double()
    one = Score(1.0, a - a.mean(), b - b.mean(), extra_variance=0.5)
    expected = float(a.var() / 50 + b.var() / 70) + 0.5
    assert estimate(one, n=50, m=70).stderr == pytest.approx(expected**0.5)


def test_copies_of_an_image_are_one_image_when_clustered():
    values = torch.randn(30).double()
    copies = values.repeat_interleave(4)
    once = estimate(mean_score(values), n=30, m=None)
    clustered = estimate(mean_score(copies), n=120, m=None, clusters=np.arange(120) // 4)
    assert clustered.stderr == pytest.approx(once.stderr)
    assert clustered.method == "influence, clustered"
    # Student's t with 29 degrees of freedom.
    assert clustered.interval[1] - clustered.value == pytest.approx(2.04523 * once.stderr, rel=1e-5)


def test_clusters_of_one_change_only_the_quantile():
    values = torch.randn(2000).double()
    plain = estimate(mean_score(values), n=2000, m=None)
    labels = [f"prompt {i}" for i in range(2000)]
    clustered = estimate(mean_score(values), n=2000, m=None, clusters=labels)
    assert clustered.stderr == pytest.approx(plain.stderr)
    assert clustered.interval == pytest.approx(plain.interval, abs=1e-4)


def test_clustered_error_matches_the_spread():
    def draw(seed: int) -> tuple[torch.Tensor, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(40), 5)
        return torch.from_numpy(rng.normal(size=40)[labels] + rng.normal(size=200)), labels

    seen = []
    for seed in range(300):
        values, labels = draw(seed)
        one = estimate(mean_score(values), n=200, m=None, clusters=labels)
        seen.append((one.value, one.stderr, one.interval[0] < 0 < one.interval[1]))
    value, stderr, covers = np.array(seen).T
    assert np.sqrt(np.mean(stderr**2)) / value.std(ddof=1) == pytest.approx(1.0, abs=0.12)
    assert 0.91 < covers.mean() < 0.99


@pytest.mark.parametrize("clusters", [10, 20, 50])
@pytest.mark.parametrize("kind", ["equal", "unequal", "one large"])
def test_clustered_intervals_cover_whatever_the_sizes(clusters, kind):
    rng = np.random.default_rng(clusters)
    sizes = np.full(clusters, 5)
    if kind == "unequal":
        sizes = np.maximum(1, np.round(rng.lognormal(2, 1, size=clusters))).astype(int)
    if kind == "one large":
        sizes[0] = 5 * clusters
    labels = np.repeat(np.arange(clusters), sizes)
    held = 0
    of_image = torch.from_numpy(labels)
    for _ in range(800):
        values = 0.3 * rng.normal(size=clusters)[labels] + rng.normal(size=len(labels))
        spread = variance_of_mean(torch.from_numpy(values), of_image)
        held += abs(values.mean()) < quantile_of(0.95, spread.degrees) * spread.variance**0.5
    # Within 92 and 98 %, and two standard errors of 800 repetitions.
    assert 0.90 <= held / 800 <= 0.99


def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey():
    labels = np.repeat(np.arange(4), [1, 2, 3, 10])
    values = torch.from_numpy(np.random.default_rng(0).normal(size=16))
    # By their definition: the residual maker, and each cluster's block of it to the power -1/2.
    maker = np.eye(16) - 1 / 16
    columns = []
    for g in range(4):
        own = labels == g
        block, vectors = np.linalg.eigh(maker[np.ix_(own, own)])
        root = vectors / np.sqrt(block) @ vectors.T
        columns.append(maker[:, own] @ root @ np.ones(own.sum()) / 16)
    products = np.array(columns) @ np.array(columns).T
    expected = np.trace(products) ** 2 / (products**2).sum()
    seen = estimate(mean_score(values), n=16, m=None, clusters=labels)
    assert seen.degrees == pytest.approx(expected)
    assert seen.stderr**2 == pytest.approx(sum((c @ values.numpy()) ** 2 for c in columns))


def test_both_sides_share_their_degrees_of_freedom():
    a, b = torch.randn(20).double(), 3 * torch.randn(10).double()
    one = Score(1.0, a - a.mean(), b - b.mean())
    parts = np.array([float(a.var()) / 20, float(b.var()) / 10])
    welch = parts.sum() ** 2 / (parts**2 / [19, 9]).sum()
    assert estimate(one, n=20, m=10).degrees == pytest.approx(welch)
    alone = estimate(one, n=20, m=10, real_clusters=range(10))
    assert alone.stderr == pytest.approx(parts.sum() ** 0.5)
    assert alone.method == "influence, clustered"


def test_noise_counted_twice_grows_within_clusters_as_the_influences_do():
    values = torch.from_numpy(np.random.default_rng(0).normal(size=30))
    # At equality: half of the influences' variance is noise, whatever the clusters.
    noise = float(values.var()) / 30 / 2
    once = estimate(mean_score(values, extra_variance=-noise), n=30, m=None)
    copies = values.repeat_interleave(4)
    half = float(copies.var()) / 120 / 2
    four = estimate(
        mean_score(copies, extra_variance=-half), n=120, m=None, clusters=np.arange(120) // 4
    )
    assert four.stderr == pytest.approx(once.stderr)


@pytest.mark.parametrize(("share", "correlation"), [(0.1, 0.05), (0.3, 0.3), (0.9, 0.1)])
def test_a_clustered_share_is_covered(share, correlation):
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(40), 10)
    more = (1 / correlation - 1) * np.array([share, 1 - share])
    held = 0
    for _ in range(400):
        chance = rng.beta(*more, size=40)[labels]
        values = torch.from_numpy((rng.random(400) < chance).astype(float))
        one = mean_score(values, bounds=(0.0, 1.0))
        low, high = estimate(one, n=400, m=None, clusters=labels).interval
        held += low <= share <= high
    assert 0.92 <= held / 400 <= 0.985


def test_a_clustered_share_of_zero_has_as_many_trials_as_clusters():
    values = torch.zeros(100, dtype=torch.float64)
    one = mean_score(values, bounds=(0.0, 1.0))
    assert estimate(one, n=100, m=None).interval[1] == pytest.approx(0.037, abs=1e-3)
    clustered = estimate(one, n=100, m=None, clusters=np.arange(100) // 5)
    assert clustered.interval[1] == pytest.approx(0.161, abs=1e-3)


def test_a_reference_without_influence_is_told():
    values = torch.randn(30).double()
    assert not estimate(mean_score(values), n=30, m=None).notes
    told = estimate(mean_score(values, notes=("first",)), n=30, m=20).notes
    assert told[0] == "first"
    assert "this very reference" in told[1]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_at_its_bound_has_a_wilson_interval(share):
    values = torch.full((100,), share, dtype=torch.float64)
    low, high = estimate(mean_score(values, bounds=(0.0, 1.0)), n=100, m=100).interval
    assert low <= share <= high
    assert high - low == pytest.approx(0.037, abs=1e-3)


@pytest.mark.parametrize("low", [-3.5000000000000004, -0.1, -1 / 3])
def test_rounding_does_not_exclude_a_value_at_its_bound(low):
    zeros = torch.zeros(2, dtype=torch.float64)
    for value in (low, 1.0):
        lower, upper = estimate(Score(value, zeros, bounds=(low, 1.0)), n=2, m=None).interval
        assert low <= lower <= value <= upper <= 1.0


def test_a_share_inside_has_wilsons_interval():
    values = torch.tensor([1.0] * 7 + [0.0] * 3, dtype=torch.float64)
    one = mean_score(values, bounds=(0.0, 1.0))
    seen = estimate(one, n=10, m=None)
    # Ten trials less one: the influences' variance has n - 1 below it.
    assert seen.interval == pytest.approx((0.3825, 0.8979), abs=1e-3)
    percent = Score(70.0, 100 * one.fake_influence, bounds=(0.0, 100.0))
    scaled = estimate(percent, n=10, m=None)
    assert scaled.interval == pytest.approx(tuple(100 * x for x in seen.interval))


def test_unknown_uncertainty_keeps_the_value_and_its_reason():
    seen = estimate(Score(3.0, reason="too few images"), n=5, m=5)
    assert (seen.value, seen.stderr, seen.interval) == (3.0, None, None)
    assert seen.reason == "too few images"
    undefined = estimate(Score(None, reason="undefined"), n=5, m=5)
    assert undefined.value is None
    single = estimate(Score(1.0, torch.zeros(1)), n=1, m=None)
    assert single.stderr is None
    assert "at least 2 images" in single.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 4, "m": None}, "3 numbers for 4 images"),
        ({"n": 3, "m": None, "clusters": [1, 2]}, "one label per image"),
        ({"n": 3, "m": None, "level": 95}, "between 0 and 1"),
        ({"n": 3, "m": 5, "real_clusters": [1, 2]}, "real_clusters has shape"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(MetricError, match=message):
        estimate(Score(1.0, torch.zeros(3)), **arguments)


@pytest.mark.parametrize("bounds", [(0.0, 0.9), (2.0, 1.0)])
def test_a_value_out_of_its_bounds_is_the_metrics_fault(bounds):
    with pytest.raises(MetricError, match="outside its bounds"):
        estimate(Score(1.0, torch.zeros(3), bounds=bounds), n=3, m=None)
    rounded = Score(1.0 + 1e-12, torch.zeros(3), bounds=(0.0, 1.0))
    assert estimate(rounded, n=3, m=None).interval[1] == pytest.approx(1.0)


def test_one_cluster_tells_nothing():
    seen = estimate(mean_score(torch.randn(6).double()), n=6, m=None, clusters=["a"] * 6)
    assert seen.stderr is None
    assert "at least 2 clusters" in seen.reason
