from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.copying import Authenticity, CopyRate, copied_pairs
from benchgen.stats.estimates import estimate


def authpct(train: Tensor, fake: Tensor, **arguments) -> Score:
    family = Authenticity(**arguments)
    return family.compute(family.prepare(TensorFeatures(train)), TensorFeatures(fake))["authpct"]


def copy_rate(train: Tensor, test: Tensor, fake: Tensor, quantile: float = 0.01) -> Score:
    family = CopyRate(quantile)
    prepared = family.prepare(TensorFeatures(train), TensorFeatures(test))
    return family.compute(prepared, TensorFeatures(fake))["copy-rate"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def distances(x: Tensor, y: Tensor) -> np.ndarray:
    return (x[:, None] - y[None]).double().square().sum(dim=2).sqrt().numpy()


def published_authenticity(train: Tensor, fake: Tensor) -> np.ndarray:
    """Alaa et al. 2022: is the nearest training image farther than its own neighbour is?"""
    authentic = []
    for row in distances(fake, train):
        star = int(row.argmin())
        own = distances(train[star : star + 1], train)[0]
        own[star] = np.inf
        authentic.append(row[star] > own.min())
    return np.array(authentic)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 30), st.integers(1, 30), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9)
)
def test_authpct_is_the_published_definition(m, n, d, levels, seed):
    """Features on a coarse grid: ties, duplicates and copies are the rule."""
    rng = np.random.default_rng(seed)
    train, fake = (
        torch.from_numpy(rng.integers(-levels, levels + 1, size=(k, d)).astype(float))
        for k in (m, n)
    )
    # Where two training images are equally near, any of them may be the nearest.
    tied = [
        len({round(float(o), 9) for o in _own(train)[row == row.min()]}) > 1
        for row in distances(fake, train)
    ]
    found, expected = (
        authpct(train, fake, convention="dgm-eval"),
        published_authenticity(train, fake),
    )
    authentic = (found.fake_influence.numpy() + found.value) > 50
    assert (authentic == expected)[~np.array(tied)].all()
    assert found.value == pytest.approx(100 * authentic.mean())
    assert float(found.fake_influence.sum()) == pytest.approx(0, abs=1e-9)
    assert found.real_influence is None


def _own(train: Tensor) -> np.ndarray:
    between = distances(train, train)
    np.fill_diagonal(between, np.inf)
    return between.min(axis=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 25), st.integers(1, 4), st.integers(0, 9))
def test_null_of_authpct_leaves_each_training_image_out(m, d, seed):
    train = normal(seed, m, d)
    others = [torch.cat([train[:i], train[i + 1 :]]) for i in range(m)]
    left_out = [published_authenticity(rest, train[i : i + 1])[0] for i, rest in enumerate(others)]
    found = authpct(train, train)
    # With two left, the neighbour of the nearest is the other one.
    assert found.details["expected_if_equal"] == pytest.approx(100 * np.mean(left_out))


def test_a_perfect_generator_scores_its_null():
    """On a line two of three points are each other's nearest (Pickard 1982)."""
    found = authpct(normal(1, 3000, 1), normal(2, 3000, 1))
    assert found.details["expected_if_equal"] == pytest.approx(100 / 3, abs=4)
    error = 4 * found.details["expected_stderr"]
    assert found.value == pytest.approx(found.details["expected_if_equal"], abs=error)


def test_planted_copies_lower_authpct_in_proportion():
    train, fake = normal(1, 400, 8), normal(2, 1000, 8)
    clean = authpct(train, fake)
    for copied in (100, 300, 1000):
        planted = fake.clone()
        planted[:copied] = train[torch.arange(copied) % 400]
        kept = float((clean.fake_influence + clean.value)[copied:].sum()) / 1000
        assert authpct(train, planted).value == pytest.approx(kept)
        expected = (1 - copied / 1000) * clean.value
        assert authpct(train, planted).value == pytest.approx(expected, abs=5)


def test_intervals_of_authpct_cover_given_the_training_images():
    family = Authenticity()
    prepared = family.prepare(TensorFeatures(normal(0, 100, 4)))
    draws = normal(1, 500, 150, 4)
    scores = [family.compute(prepared, TensorFeatures(fake))["authpct"] for fake in draws]
    truth = np.mean([score.value for score in scores])
    pairs = torch.arange(150).repeat(2)
    covered = np.zeros(2)
    for score in scores:
        seen = estimate(score, n=150, m=100)
        twice = replace(score, fake_influence=score.fake_influence.repeat(2))
        doubled = estimate(twice, n=300, m=100, clusters=pairs)
        assert doubled.stderr == pytest.approx(seen.stderr)
        covered += [one.interval[0] <= truth <= one.interval[1] for one in (seen, doubled)]
    assert (covered >= 0.92 * 500).all()
    assert (covered <= 0.98 * 500).all()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scale_does_not_matter(scale):
    train, test, fake = normal(1, 100, 4), normal(2, 200, 4), normal(3, 150, 4)
    assert authpct(train * scale, fake * scale).value == authpct(train, fake).value
    one = copy_rate(train, test, fake, 0.1)
    other = copy_rate(train * scale, test * scale, fake * scale, 0.1)
    assert other.value == one.value
    assert other.details["threshold"] == pytest.approx(one.details["threshold"] * scale)


def test_twins_in_training_are_told():
    train = normal(1, 50, 3)
    found = authpct(torch.cat([train, train[:5]]), normal(2, 20, 3))
    assert "10 of 55 training images" in found.notes[0]
    constant = authpct(torch.ones(5, 2), torch.ones(4, 2))
    assert (constant.value, constant.details["expected_if_equal"]) == (0.0, 0.0)


def test_copy_rate_by_hand():
    train = torch.tensor([[0.0], [100.0]], dtype=torch.float64)
    test = torch.arange(1, 21, dtype=torch.float64)[:, None]
    fake = torch.tensor([[0.0], [2.0], [2.5], [50.0], [100.0]], dtype=torch.float64)
    found = copy_rate(train, test, fake, 0.1)
    assert found.details["threshold"] == 2.0
    assert found.details["raw_rate"] == pytest.approx(3 / 5)
    assert found.details["expected_rate"] == pytest.approx(2 / 21)
    assert found.value == pytest.approx((3 / 5 - 2 / 21) / (1 - 2 / 21))
    upper = stats.binomtest(3, 5, alternative="less").proportion_ci(0.95, "exact").high
    assert found.details["upper_bound"] == pytest.approx((upper - 2 / 21) / (1 - 2 / 21))
    pairs = copied_pairs(*(TensorFeatures(rows) for rows in (train, test, fake)), quantile=0.1)
    assert pairs.fake.tolist() == [0, 4, 1]
    assert pairs.train.tolist() == [0, 1, 0]
    assert pairs.distance.tolist() == [0.0, 0.0, 2.0]
    assert len(pairs.fake) == found.details["pairs"]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 4),
    st.floats(0.01, 0.9), st.booleans(),
)  # fmt: skip
def test_copy_rate_counts_the_pairs_it_lists(t, m, n, d, quantile, coarse):
    rng = np.random.default_rng(t * 900 + m * 30 + n)
    draw = (lambda k: rng.integers(0, 3, size=(k, d)) * 1.0) if coarse else (
        lambda k: rng.normal(size=(k, d))
    )  # fmt: skip
    train, test, fake = (torch.from_numpy(draw(k)) for k in (t, m, n))
    found = copy_rate(train, test, fake, quantile)
    pairs = copied_pairs(*(TensorFeatures(rows) for rows in (train, test, fake)), quantile=quantile)
    nearest = distances(fake, train).min(axis=1)
    assert pairs.distance.numpy() == pytest.approx(np.sort(nearest)[: len(pairs.fake)])
    assert pairs.distance.numpy() == pytest.approx(
        (fake[pairs.fake] - train[pairs.train]).square().sum(dim=1).sqrt().numpy()
    )
    assert found.details["pairs"] == len(pairs.fake) == (nearest <= pairs.threshold + 1e-12).sum()
    if found.value is None:
        assert "tells no image from a copy" in found.reason
        return
    assert found.value <= found.details["upper_bound"] <= 1
    if found.fake_influence is None:
        assert found.reason
    else:
        seen = estimate(found, n=n, m=m)
        if n == 1:
            assert "at least 2 images" in seen.reason
        else:
            assert seen.interval[0] <= found.value <= seen.interval[1]


@pytest.mark.parametrize("copied", [0.0, 0.05, 0.3])
def test_intervals_of_copy_rate_cover_the_share_of_copies(copied):
    train = normal(0, 60, 4)
    family = CopyRate(0.02)
    values, covered, repetitions = [], 0, 300
    for seed in range(repetitions):
        rng = np.random.default_rng(seed + 1)
        test, fake = (torch.from_numpy(rng.normal(size=(500, 4))) for _ in range(2))
        chosen = torch.from_numpy(rng.random(500) < copied)
        fake[chosen] = train[torch.from_numpy(rng.integers(0, 60, int(chosen.sum())))]
        prepared = family.prepare(TensorFeatures(train), TensorFeatures(test))
        score = family.compute(prepared, TensorFeatures(fake))["copy-rate"]
        low, high = estimate(score, n=500, m=500).interval
        covered += low <= copied <= high
        values.append(score.value)
    assert 0.92 <= covered / repetitions <= 0.98
    assert np.mean(values) == pytest.approx(copied, abs=4 * np.std(values) / repetitions**0.5)


def test_few_test_images_give_no_interval():
    found = copy_rate(normal(1, 50, 3), normal(2, 300, 3), normal(3, 200, 3))
    seen = estimate(found, n=200, m=300)
    assert seen.value is not None
    assert seen.interval is None
    assert "at least 1000 test images" in seen.reason


def test_test_images_that_were_trained_on_are_told():
    train, fake = normal(1, 50, 3), normal(3, 200, 3)
    test = torch.cat([normal(2, 995, 3), train[:5]])
    found = copy_rate(train, test, fake)
    assert found.details["test_copies"] == 5
    assert "5 test images are exact copies" in found.notes[0]
    test = torch.cat([normal(2, 980, 3), train[:20]])
    found = copy_rate(train, test, torch.cat([fake, train[:50]]))
    assert found.details["threshold"] == 0
    assert found.details["pairs"] == 50
    assert found.fake_influence is None
    assert "threshold is 0" in found.reason


def test_tied_test_images_give_no_interval():
    test = normal(2, 1000, 3)
    test[:400] = test[0]
    found = copy_rate(test[:1] + 0.01, test, normal(3, 100, 3))
    assert "ties" in found.reason
    assert found.details["expected_rate"] == pytest.approx(400 / 1001, abs=0.02)


def test_a_threshold_that_flags_every_test_image_has_no_value():
    found = copy_rate(torch.ones(5, 2), torch.ones(9, 2), torch.ones(4, 2))
    assert found.value is None
    assert "all 9 test images" in found.reason
    assert math.isfinite(found.details["raw_rate"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Authenticity("prdc"), "'dgm-eval'"),
        (lambda: Authenticity().prepare(None), r"train=\.\.\."),
        (lambda: authpct(torch.ones(2, 3), torch.ones(5, 3)), "holds 2 image"),
        (lambda: authpct(torch.ones(5, 4), torch.ones(5, 3)), "3 feature columns and train has 4"),
        (lambda: authpct(torch.ones(5, 3), torch.full((2, 3), torch.nan)), "fake holds a NaN"),
        (lambda: CopyRate(0.0), "quantile is 0.0"),
        (lambda: CopyRate(1.0), "quantile is 1.0"),
        (lambda: CopyRate().prepare(TensorFeatures(torch.ones(3, 2)), None), r"test=\.\.\."),
        (lambda: CopyRate().prepare(None, TensorFeatures(torch.ones(3, 2))), r"train=\.\.\."),
        (lambda: copy_rate(torch.ones(3, 2), torch.ones(3, 4), torch.ones(3, 2)), "test has 4"),
        (lambda: copy_rate(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 4)), "fake has 4"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()
