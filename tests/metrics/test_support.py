from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.support import EffectiveSupport
from benchgen.stats.estimates import estimate


def support(rows: torch.Tensor, real: torch.Tensor, **parameters) -> Score:
    family = EffectiveSupport(**parameters)
    return family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(rows))["support"]


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def from_images(count: int, n: int, seed: int) -> torch.Tensor:
    """n draws from a generator of ``count`` equally likely images."""
    rng = np.random.default_rng(seed)
    return normal(count, 16, 7)[torch.from_numpy(rng.integers(count, size=n))] * 3


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(2, 60),
    st.integers(1, 12),
    st.sampled_from([0.01, 0.3, 0.9]),
    st.sampled_from([1e-8, 1.0, 1e8]),
    st.booleans(),
)
def test_collisions_are_counted_exactly(n, m, d, quantile, scale, duplicates):
    rows, real = normal(n, d, n) * scale, normal(m, d, m + 100) * scale
    if duplicates:
        rows[n // 2 :] = rows[0].clone()
        real[m // 2 :] = real[0].clone()
    found = support(rows, real, quantile=quantile)
    apart = (real[:, None] - real).square().sum(dim=2).fill_diagonal_(torch.inf)
    nearest = apart.amin(dim=1).sort().values
    squared = float(nearest[int(np.ceil(quantile * m)) - 1])
    exact = (rows[:, None] - rows).square().sum(dim=2)[tuple(torch.triu_indices(n, n, 1))]
    count = int((exact <= squared).sum())
    assert found.details["collisions"] == count
    assert found.details["collision_distance"] == pytest.approx(squared**0.5)
    if count:
        assert found.value == pytest.approx(n * (n - 1) / 2 / count)
        assert found.details["at_least"] < found.value < found.details["at_most"]
    else:
        assert found.value is None
        assert found.details["at_least"] == pytest.approx(n * (n - 1) / 2 / 2.9957, rel=1e-4)


def test_the_birthday_paradox_counts_a_generators_images():
    real = normal(400, 16, 1) * 3
    values = [support(from_images(500, 300, seed), real).value for seed in range(30)]
    assert np.mean(values) == pytest.approx(500, rel=0.1)


def test_a_reference_has_about_its_size_over_the_quantile():
    real = normal(500, 16, 1)
    found = support(normal(50, 16, 0), real, quantile=0.1)
    assert 0.5 * 500 / 0.1 < found.details["of_reference"] <= 500 / 0.1


@pytest.mark.parametrize("count", [100, 500])
def test_intervals_and_bounds_cover(count):
    prepared = EffectiveSupport().prepare(TensorFeatures(normal(300, 16, 1) * 3))
    intervals, bounds = [], []
    for seed in range(150):
        rows = from_images(count, 250, seed)
        found = EffectiveSupport().compute(prepared, TensorFeatures(rows))["support"]
        intervals.append(estimate(found, n=250, m=None).interval)
        bounds.append((found.details["at_least"], found.details["at_most"]))
    for seen in (intervals, bounds):
        assert None not in seen
        assert 0.9 <= np.mean([low <= count <= high for low, high in seen]) <= 1


def test_few_collisions_have_bounds_but_no_interval():
    found = support(from_images(3000, 200, 0), normal(300, 16, 1) * 3)
    assert 0 < found.details["collisions"] < 20
    assert found.fake_influence is None
    assert "at_least" in found.reason


def test_influence_is_the_effect_of_an_image():
    rows, real = from_images(100, 300, 0), normal(300, 16, 1) * 3
    whole = support(rows, real)
    drops = [support(rows[torch.arange(300) != i], real).value for i in (0, 200)]
    found = float(whole.fake_influence[0] - whole.fake_influence[200])
    scale = float(whole.fake_influence.std())
    assert found == pytest.approx(299 * (drops[1] - drops[0]), abs=0.1 * scale)


def test_duplicates_in_the_reference_are_told():
    rows = normal(40, 3, 0)
    found = support(rows, rows.repeat(2, 1))
    assert found.details["collision_distance"] == 0
    assert "duplicates" in found.notes[0]
    assert found.value is None


def test_a_collapsed_generator_has_a_support_of_one():
    found = support(torch.ones(50, 3), normal(40, 3, 0).float())
    assert found.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EffectiveSupport(quantile=0.0), "quantile is 0"),
        (lambda: EffectiveSupport(quantile=1.0), "quantile is 1"),
        (lambda: EffectiveSupport().prepare(None), "give a reference"),
        (lambda: support(torch.ones(5, 3), torch.ones(1, 3)), "real holds 1 row"),
        (lambda: support(torch.ones(1, 3), torch.ones(5, 3)), "fake holds 1 row"),
        (lambda: support(torch.ones(5, 3), torch.ones(5, 4)), "feature columns"),
        (lambda: support(torch.full((5, 3), torch.nan), torch.ones(5, 3)), "NaN"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()
