from __future__ import annotations

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
from benchgen.stats.estimates import estimate


def mean_score(values: torch.Tensor, **extra) -> Score:
    return Score(float(values.mean()), values - values.mean(), **extra)


def test_a_mean_has_its_textbook_error():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    seen = estimate(mean_score(values), n=4, m=None)
    assert seen.stderr == pytest.approx(float(values.std()) / 2)
    assert seen.interval == pytest.approx((4 - 1.959964 * seen.stderr, 4 + 1.959964 * seen.stderr))
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


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_at_its_bound_has_a_wilson_interval(share):
    values = torch.full((100,), share, dtype=torch.float64)
    low, high = estimate(mean_score(values, bounds=(0.0, 1.0)), n=100, m=100).interval
    assert low <= share <= high
    assert high - low == pytest.approx(0.037, abs=1e-3)


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
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(MetricError, match=message):
        estimate(Score(1.0, torch.zeros(3)), **arguments)
