from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.classes import Classes
from benchgen.stats.estimates import estimate


def scored(labels: np.ndarray, real: np.ndarray, classes: int) -> Mapping[str, Score]:
    eye = torch.eye(classes)
    family = Classes()
    return family.compute(family.prepare(TensorFeatures(eye[real])), TensorFeatures(eye[labels]))


def shares(classes: int, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    real = np.random.default_rng(3).dirichlet(np.full(classes, 5.0))
    fake = real * np.exp(tilt * np.random.default_rng(4).normal(size=classes))
    return fake / fake.sum(), real


def repeated(classes: int, tilt: float, n: int, m: int, repetitions: int):
    p, q = shares(classes, tilt)
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        yield scored(rng.choice(classes, n, p=p), rng.choice(classes, m, p=q), classes)


def test_closed_form():
    fake, real = np.repeat([0, 1], [30, 10]), np.repeat([0, 1, 2], [20, 10, 10])
    found = scored(fake, real, 3)
    plain = 0.75 * np.log(0.75 / 0.5)
    bias = 1 / 80 + (1.5 + 1 - 1) / 80
    assert found["modes"].value == 2
    assert found["modes"].details["in_reference"] == 3
    assert found["class-kl"].details["plain"] == pytest.approx(plain)
    assert found["class-kl"].value == pytest.approx(plain - bias)


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_the_correction_removes_the_bias(tilt):
    p, q = shares(20, tilt)
    values = [found["class-kl"].value for found in repeated(20, tilt, 500, 1500, 300)]
    error = np.std(values) / 300**0.5
    assert np.mean(values) == pytest.approx(float((p * np.log(p / q)).sum()), abs=4 * error)


@pytest.mark.parametrize(("classes", "tilt"), [(20, 0.2), (20, 0.7), (5, 0.9)])
def test_intervals_cover_the_divergence(classes, tilt):
    p, q = shares(classes, tilt)
    target = float((p * np.log(p / q)).sum())
    seen = [
        estimate(found["class-kl"], n=500, m=1500)
        for found in repeated(classes, tilt, 500, 1500, 300)
    ]
    covered = np.mean([one.interval[0] <= target <= one.interval[1] for one in seen])
    assert 0.915 <= covered <= 0.985


def test_intervals_are_wide_enough_at_equality():
    seen = [
        estimate(found["class-kl"], n=500, m=1500) for found in repeated(30, 0.0, 500, 1500, 200)
    ]
    assert np.mean([one.interval[0] <= 0 <= one.interval[1] for one in seen]) >= 0.92


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_few_classes_have_honest_intervals(tilt):
    """At equality the divergence is a chi-square of one degree, less its mean."""
    p = np.array([0.5 - tilt / 2, 0.5 + tilt / 2])
    truth = float((p * np.log(p / 0.5)).sum())
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        fake, real = rng.choice(2, 400, p=p), rng.choice(2, 500)
        low, high = estimate(scored(fake, real, 2)["class-kl"], n=400, m=500).interval
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.985


def test_influences_are_the_effects_of_images():
    p, q = shares(6, 0.9)
    rng = np.random.default_rng(0)
    fake, real = rng.choice(6, 800, p=p), rng.choice(6, 800, p=q)
    whole = scored(fake, real, 6)["class-kl"]
    for side, influence in ((0, whole.fake_influence), (1, whole.real_influence)):
        drops = []
        for i in (0, 1, 2, 3):
            sets = [fake, real]
            sets[side] = np.delete(sets[side], i)
            drops.append(scored(*sets, 6)["class-kl"].details["plain"])
        effects = 799 * (whole.details["plain"] - np.array(drops))
        np.testing.assert_allclose(influence[:4], effects, atol=0.05 * float(influence.std()))


def test_a_class_outside_the_reference_is_named():
    found = scored(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1]), 4)["class-kl"]
    assert found.value is None
    assert "classes 2 are generated" in found.reason
    assert found.details["outside_reference"] == 0.5


def test_expected_modes_are_those_of_real_images():
    q = shares(40, 0.0)[1]
    real = np.repeat(np.arange(40), np.maximum(1, (q * 4000).astype(int)))
    counts = [len(np.unique(np.random.default_rng(seed).choice(real, 60))) for seed in range(2000)]
    details = scored(np.array([0] * 60), real, 40)["modes"].details
    assert details["expected_if_equal"] == pytest.approx(np.mean(counts), rel=0.01)
    assert details["spread_if_equal"] == pytest.approx(np.std(counts), rel=0.1)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 8),
    st.sampled_from([0.0, 1e-8, 1.0, 1e8]),
)
def test_a_number_or_a_reason(n, m, classes, scale):
    generator = torch.Generator().manual_seed(n * 31 + m)
    fake, real = (torch.randn(k, classes, generator=generator) * scale for k in (n, m))
    family = Classes()
    try:
        found = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))
    except MetricError:
        assert classes == 1
        return
    assert 1 <= found["modes"].value <= classes
    assert (found["class-kl"].value is None) == ("outside_reference" in found["class-kl"].details)
    estimate(found["class-kl"], n=n, m=m)


def test_bad_input_is_named():
    family, three = Classes(), TensorFeatures(torch.ones(4, 3))
    with pytest.raises(MetricError, match="give a reference"):
        family.prepare(None)
    with pytest.raises(MetricError, match="2 classes"):
        family.prepare(TensorFeatures(torch.ones(4, 1)))
    with pytest.raises(MetricError, match="columns"):
        family.compute(family.prepare(three), TensorFeatures(torch.ones(4, 2)))
    with pytest.raises(MetricError, match="NaN"):
        family.compute(family.prepare(three), TensorFeatures(torch.full((4, 3), torch.nan)))
    with pytest.raises(MetricError, match="no convention 'prdc'"):
        Classes(convention="prdc")
