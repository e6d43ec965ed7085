from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.cmmd import Cmmd
from benchgen.metrics.pairs import sums as kernel_sums


def direct_cmmd(x: torch.Tensor, y: torch.Tensor, sigma: float) -> float:
    """From squared differences, so that nothing cancels."""
    x, y = (a.double().numpy() for a in (x, y))
    x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, y))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        squares = np.square(a[:, None] - b[None]).sum(axis=2)
        return float(np.expm1(-squares / (2 * sigma**2)).mean())

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from([0.1, 1.0, 10.0, 1000.0]),
)
def test_definition_at_any_tile(n, m, d, tile, sigma):
    rng = np.random.default_rng(n * 1000 + m)
    x, y = (torch.from_numpy(rng.normal(size=(rows, d))) for rows in (n, m))
    before, kernel_sums._TILE = kernel_sums._TILE, tile
    try:
        family = Cmmd(sigma)
        found = family.compute(family.prepare(TensorFeatures(y)), TensorFeatures(x))["cmmd"]
    finally:
        kernel_sums._TILE = before
    assert found.value == pytest.approx(direct_cmmd(x, y, sigma), rel=1e-9, abs=1e-11 / sigma**2)
    assert float(found.fake_influence.sum()) == pytest.approx(0, abs=1e-8)
    assert float(found.real_influence.sum()) == pytest.approx(0, abs=1e-8)


def test_plain_exponentials_of_the_published_code(score):
    x, y = torch.randn(50, 8).double() + 1, torch.randn(60, 8).double()
    units = [a / a.norm(dim=1, keepdim=True) for a in (x, y)]

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.exp(-torch.cdist(a, b).square() / 200).mean()

    published = 1000 * (k(units[0], units[0]) + k(units[1], units[1]) - 2 * k(*units))
    assert score(Cmmd(), x, y)["cmmd"].value == pytest.approx(float(published), rel=1e-9)


def test_two_points():
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    other = torch.tensor([[0.0, 3.0], [0.0, 0.5]])
    family = Cmmd(sigma=2.0)
    found = family.compute(family.prepare(TensorFeatures(other)), TensorFeatures(rows))["cmmd"]
    assert found.value == pytest.approx(2000 * (1 - math.exp(-2 / 8)), rel=1e-12)
    assert found.details["bias"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8, 1e200])
def test_length_does_not_matter(score, scale):
    x, y = torch.randn(40, 5).double(), torch.randn(30, 5).double() + 1
    found = score(Cmmd(), x * scale, y)["cmmd"].value
    assert found == pytest.approx(direct_cmmd(x, y, 10.0), rel=1e-9)


def test_float32_tiles_are_exact_enough(score, monkeypatch):
    x, y = torch.rand(400, 256) + 0.3, torch.rand(300, 256) + 0.302
    exact = score(Cmmd(), x, y)["cmmd"]
    monkeypatch.setattr(kernel_sums, "_EXACT_WORK", 0)
    fast = score(Cmmd(), x, y)["cmmd"]
    assert fast.value != exact.value
    assert fast.value == pytest.approx(exact.value, rel=1e-4)
    error = float(exact.fake_influence.std()) / 20
    assert abs(fast.value - exact.value) < 1e-3 * error


def test_bias_is_what_both_sides_add_at_equality(score, relu_laplace):
    draw = relu_laplace(8, 40, 60, 1.0, 0.0)
    found = [score(Cmmd(), fake + 0.1, real + 0.1)["cmmd"] for real, fake in map(draw, _seeds(200))]
    values = np.array([one.value for one in found])
    bias = np.mean([one.details["bias"] for one in found])
    assert values.min() >= 0
    assert values.mean() == pytest.approx(bias, abs=4 * values.std() / 200**0.5)
    assert bias > 10 * values.std() / 200**0.5


def test_identical_sets_are_at_zero(score):
    rows = torch.randn(200, 6)
    found = score(Cmmd(), rows, rows)["cmmd"]
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.details["bias"] > 0


@pytest.mark.parametrize(("d", "scale", "shift"), [(16, 1.0, 0.0), (16, 1.3, 0.3)])
def test_standard_error_matches_the_spread(stderr_over_spread, relu_laplace, d, scale, shift):
    ratio = stderr_over_spread(Cmmd(), relu_laplace(d, 100, 120, scale, shift), repetitions=100)
    assert 0.8 < ratio["cmmd"] < 1.35


@pytest.mark.parametrize(
    ("fake", "real", "arguments", "message"),
    [
        (torch.ones(1, 3), torch.ones(5, 3), {}, "at least 2"),
        (torch.ones(5, 3), torch.ones(5, 4), {}, "feature columns"),
        (torch.full((5, 3), torch.nan), torch.ones(5, 3), {}, "NaN or an infinity"),
        (torch.eye(5)[:, :3], torch.ones(5, 3), {}, "2 of 5 rows of fake are zero.*row 3"),
        (torch.ones(5, 3), torch.zeros(5, 3), {}, "rows of real are zero"),
        (torch.ones(5, 3), torch.ones(5, 3), {"sigma": 0.0}, "sigma is 0.0"),
        (torch.ones(5, 3), torch.ones(5, 3), {"sigma": float("nan")}, "sigma is nan"),
        (torch.ones(5, 3), torch.ones(5, 3), {"convention": "prdc"}, "None"),
        (torch.ones(5, 3), torch.ones(5, 3), {"largest": 1}, "largest is 1"),
        (torch.ones(5, 3), None, {}, "reference"),
    ],
)
def test_bad_input_is_named(score, fake, real, arguments, message):
    with pytest.raises(MetricError, match=message):
        score(Cmmd(**arguments), fake, real)


def _seeds(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]
