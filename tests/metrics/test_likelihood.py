from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.likelihood import Likelihood, bits_per_dim
from benchgen.stats.estimates import estimate


def nll(bits: torch.Tensor):
    family = Likelihood()
    return family.compute(family.prepare(), TensorFeatures(bits))["nll"]


def test_uniform_noise_has_eight_bits():
    dims = 3 * 32 * 32
    log_likelihood = torch.full((5,), -dims * math.log(256), dtype=torch.float64)
    bits = bits_per_dim(log_likelihood, dims)
    assert bits.tolist() == pytest.approx([8.0] * 5, rel=1e-14)
    assert nll(bits[:, None]).value == pytest.approx(8.0, rel=1e-14)


def test_float32_likelihoods_are_averaged_in_float64():
    bits = torch.full((100_000, 1), 3.1, dtype=torch.float32)
    assert nll(bits).value == pytest.approx(float(torch.tensor(3.1)), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_it_is_the_mean_and_each_image_moves_it_by_its_own_bits(bits):
    found = nll(torch.tensor(bits, dtype=torch.float64)[:, None])
    assert found.value == pytest.approx(np.mean(bits), rel=1e-9, abs=1e-6)
    expected = np.array(bits) - np.mean(bits)
    assert found.fake_influence.tolist() == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-6)
    assert found.real_influence is None


def test_intervals_cover_and_so_do_paired_differences():
    covered = np.zeros(2)
    repetitions = 1000
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        easy = rng.gamma(9, 0.3, size=200)
        first, second = easy + rng.exponential(0.5, size=200), easy + 0.4
        one, other = (nll(torch.from_numpy(bits)[:, None]) for bits in (first, second))
        low, high = estimate(one, n=200, m=None).interval
        covered[0] += low <= 3.2 <= high
        difference = one.value - other.value
        stderr = float((one.fake_influence - other.fake_influence).std()) / 200**0.5
        covered[1] += abs(difference - 0.1) <= 1.96 * stderr
    assert (covered >= 0.92 * repetitions).all()
    assert (covered <= 0.98 * repetitions).all()


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (torch.ones(5, 2), r"shape \[5, 2\]"),
        (torch.ones(0, 1), r"shape \[0, 1\]"),
        (torch.tensor([[1.0], [torch.inf]]), "image 1: inf"),
        (torch.tensor([[torch.nan], [1.0]]), "image 0: nan"),
    ],
)
def test_bad_bits_are_named(bits, message):
    with pytest.raises(MetricError, match=message):
        nll(bits)


def test_an_image_has_at_least_one_number():
    with pytest.raises(MetricError, match="dims is 0"):
        bits_per_dim(torch.zeros(3), 0)
