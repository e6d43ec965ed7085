from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics import two_sample
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.two_sample import TwoSample
from benchgen.stats.estimates import estimate


def c2st(fake: Tensor, real: Tensor, **arguments) -> Score:
    family = TwoSample(**arguments)
    prepared = family.prepare(TensorFeatures(real))
    return family.compute(prepared, TensorFeatures(fake))["c2st"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
@pytest.mark.parametrize("shift", [0.5, 1.5, 3.0])
def test_a_gaussian_shift_has_a_closed_form(classifier, shift):
    fake = normal(1, 2000, 3)
    fake[:, 0] += shift
    found = c2st(fake, normal(2, 2000, 3), classifier=classifier)
    assert found.value == pytest.approx(stats.norm.cdf(shift / 2), abs=0.03)
    assert found.details["effect"] == pytest.approx(2 * found.value - 1)
    assert found.details["p_value"] < 1e-6


def test_variance_comes_from_the_images_that_were_used():
    found = c2st(normal(1, 300, 4) + 0.5, normal(2, 701, 4))
    assert found.details["images_per_side"] == 300
    assert int((found.real_influence != 0).sum()) == 300
    binomial = found.value * (1 - found.value) / 600
    first_order = float(found.fake_influence.var() / 300 + found.real_influence.var() / 701)
    assert first_order == pytest.approx(binomial, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_intervals_cover_the_expectation(relu_laplace, shift):
    draw = relu_laplace(8, 120, 120, 1.0, shift)
    family = TwoSample()
    seen = []
    for seed in range(300):
        real, fake = draw(np.random.default_rng(seed))
        score = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))["c2st"]
        seen.append(estimate(score, n=120, m=120))
    values = np.array([one.value for one in seen])
    covered = [low <= values.mean() <= high for low, high in (one.interval for one in seen)]
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
def test_p_values_hold_at_equality(classifier):
    family = TwoSample(classifier)
    found = []
    for seed in range(120):
        real, fake = normal(seed, 2, 100, 8)
        prepared = family.prepare(TensorFeatures(real))
        found.append(family.compute(prepared, TensorFeatures(fake))["c2st"])
    values = np.array([score.value for score in found])
    assert values.mean() == pytest.approx(0.5, abs=4 * values.std() / 120**0.5)
    assert np.mean([score.details["p_value"] < 0.05 for score in found]) < 0.1


def test_knn_has_no_interval_and_says_why():
    seen = estimate(c2st(normal(1, 50, 2), normal(2, 50, 2), classifier="knn"), n=50, m=50)
    assert seen.interval is None
    assert "logistic" in seen.reason


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
def test_copies_betray_nothing(classifier):
    """A copy of a real image has the same row: whatever it is called, one of the two is wrong."""
    real = normal(1, 200, 5)
    found = c2st(real.flip(0), real, classifier=classifier)
    assert found.value == 0.5
    repeated = c2st(normal(2, 40, 5).repeat(5, 1), real, classifier="knn")
    assert repeated.value < 0.7


def test_identical_rows_share_a_half():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.integers(0, 4, size=(120, 2)) * 1.0)
    rows[rows == 0] *= torch.from_numpy(rng.choice([-1.0, 1.0], size=int((rows == 0).sum())))
    is_fake = torch.arange(120) < 60
    first = two_sample._halves(two_sample._twins(rows), is_fake, np.random.RandomState(0))
    for row in torch.unique(rows + 0.0, dim=0):
        assert len(torch.unique(first[(rows == row).all(dim=1)])) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.integers(0, 99))
def test_halves_hold_as_many_of_each_side(pairs, seed):
    rows, is_fake = normal(seed, 4 * pairs, 2), torch.arange(4 * pairs) < 2 * pairs
    first = two_sample._halves(two_sample._twins(rows), is_fake, np.random.RandomState(seed))
    assert int((first & is_fake).sum()) == pairs
    assert int((first & ~is_fake).sum()) == pairs


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 5),
    st.sampled_from(["logistic", "knn"]), st.booleans(), st.sampled_from([1e-8, 1.0, 1e8]),
)  # fmt: skip
def test_any_shape_gives_a_share_or_says_why(n, m, d, classifier, coarse, scale):
    rng = np.random.default_rng(n * 40 + m)
    fake, real = (
        scale
        * torch.from_numpy(rng.integers(0, 3, (k, d)) * 1.0 if coarse else rng.normal(size=(k, d)))
        for k in (n, m)
    )
    try:
        found = c2st(fake, real, classifier=classifier)
    except MetricError:
        assert min(n, m) < 8 or coarse
        return
    assert 0 <= found.value <= 1
    assert 0 <= found.details["p_value"] <= 1
    if classifier == "knn":
        return
    assert found.extra_variance >= 0
    assert found.fake_influence.shape == (n,)
    assert found.real_influence.shape == (m,)
    assert float(found.fake_influence.sum()) == pytest.approx(0, abs=1e-8)
    low, high = estimate(found, n=n, m=m).interval
    assert 0 <= low <= found.value <= high <= 1


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scale_does_not_matter(classifier, scale):
    fake, real = normal(1, 100, 3) + 0.7, normal(2, 100, 3)
    fake[:, 2], real[:, 2] = 5.0, 5.0
    expected = c2st(fake, real, classifier=classifier).value
    assert c2st(fake * scale, real * scale, classifier=classifier).value == pytest.approx(
        expected, abs=0.011
    )


def test_a_split_is_the_same_each_time():
    fake, real = normal(1, 90, 3), normal(2, 80, 3)
    assert c2st(fake, real).value == c2st(fake, real).value
    assert TwoSample(seed=1).parameters != TwoSample(seed=2).parameters
    assert c2st(fake, real, seed=1).value != c2st(fake, real, seed=3).value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoSample("forest"), "'logistic', 'knn'"),
        (lambda: TwoSample().prepare(None), "reference"),
        (lambda: c2st(torch.ones(20, 2), torch.ones(20, 2)), "only 1 of 40 rows differ"),
        (lambda: c2st(normal(1, 20, 2), normal(2, 20, 3)), "feature columns"),
        (lambda: c2st(normal(1, 1, 2), normal(2, 20, 2)), "fake holds 1 image"),
        (lambda: c2st(normal(1, 20, 2), normal(2, 7, 2)), "real holds 7 image"),
        (lambda: c2st(normal(1, 20, 2), normal(2, 20, 2) * torch.nan), "real holds a NaN"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()
