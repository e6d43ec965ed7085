from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics import kernel
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.kernel import Kernel


def direct_kid(x: torch.Tensor, y: torch.Tensor) -> float:
    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx, yy = k(x, x), k(y, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * k(x, y).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(1, 9))
def test_tiles_do_not_matter(n, m, d, tile):
    rng = np.random.default_rng(n * 1000 + m)
    x, y = (torch.from_numpy(rng.normal(size=(rows, d))) for rows in (n, m))
    before, kernel._TILE = kernel._TILE, tile
    try:
        family = Kernel()
        found = family.compute(family.prepare(TensorFeatures(y)), TensorFeatures(x))["kid"]
    finally:
        kernel._TILE = before
    assert found.value == pytest.approx(direct_kid(x, y), rel=1e-9, abs=1e-11)
    assert found.fake_influence.shape == (n,)
    assert found.real_influence.shape == (m,)
    assert float(found.fake_influence.sum()) == pytest.approx(0, abs=1e-8)


def test_float32_features_are_summed_in_float64(score):
    x, y = torch.randn(300, 512), torch.randn(200, 512)
    assert score(Kernel(), x, y)["kid"].value == pytest.approx(
        direct_kid(x.double(), y.double()), rel=1e-9
    )


def test_parity_with_torch_fidelity(score, relu_laplace):
    oracle = pytest.importorskip("torch_fidelity.metric_kid")
    real, fake = relu_laplace(24, 500, 700, 1.1, 0.1)(np.random.default_rng(0))
    theirs = oracle.kid_features_to_metric(
        fake, real, kid_subsets=10, kid_subset_size=100, rng_seed=2020, verbose=False,
        kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1.0,
    )  # fmt: skip
    family = Kernel(subsets=10, subset_size=100, convention="torch-fidelity")
    ours = score(family, fake, real)["kid"]
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert ours.details["subset_std"] == pytest.approx(
        theirs["kernel_inception_distance_std"], rel=1e-6
    )


def test_convention_draws_a_hundred_subsets_of_a_thousand(score):
    x = torch.randn(1000, 2, dtype=torch.float64)
    found = score(Kernel(convention="torch-fidelity"), x, x.flip(0) * 1.1)["kid"]
    exact = score(Kernel(), x, x.flip(0) * 1.1)["kid"]
    assert found.value == pytest.approx(exact.value, rel=1e-9)
    assert found.details["subset_std"] == pytest.approx(0, abs=1e-9)


def test_influence_is_the_effect_of_an_image(score, relu_laplace):
    real, fake = relu_laplace(8, 200, 150, 1.2, 0.2)(np.random.default_rng(3))
    whole = score(Kernel(), fake, real)["kid"]
    for i in (0, 50, 149):
        keep = torch.arange(150) != i
        effect = 149 * (whole.value - score(Kernel(), fake, real[keep])["kid"].value)
        tolerance = 0.02 * float(whole.real_influence.std())
        assert float(whole.real_influence[i]) == pytest.approx(effect, rel=0.02, abs=tolerance)


@pytest.mark.parametrize(("d", "scale", "shift"), [(16, 1.3, 0.3), (64, 1.2, 0.1)])
def test_standard_error_matches_the_spread(stderr_over_spread, relu_laplace, d, scale, shift):
    ratio = stderr_over_spread(Kernel(), relu_laplace(d, 250, 300, scale, shift))["kid"]
    assert 0.8 < ratio < 1.2


def test_standard_error_holds_at_equality(stderr_over_spread, relu_laplace):
    ratio = stderr_over_spread(Kernel(), relu_laplace(32, 300, 300, 1.0, 0.0))["kid"]
    assert 0.8 < ratio < 1.35


def test_standard_error_counts_the_draw_of_subsets(stderr_over_spread, relu_laplace):
    family = Kernel(subsets=5, subset_size=60)
    ratio = stderr_over_spread(family, relu_laplace(16, 200, 200, 1.3, 0.3))["kid"]
    assert 0.75 < ratio < 1.25


def test_negative_values_are_kept_and_explained(score):
    rows = torch.randn(300, 16, dtype=torch.float64)
    found = score(Kernel(), rows, rows)["kid"]
    assert found.value < 0
    assert "negative" in found.notes[0]


def test_constant_features(score):
    found = score(Kernel(), torch.ones(10, 4), torch.ones(12, 4))["kid"]
    assert found.value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("fake", "real", "arguments", "message"),
    [
        (torch.ones(1, 3), torch.ones(5, 3), {}, "at least 2"),
        (torch.ones(5, 3), torch.ones(5, 4), {}, "feature columns"),
        (torch.full((5, 3), torch.inf), torch.ones(5, 3), {}, "NaN or an infinity"),
        (torch.ones(50, 3), torch.ones(5, 3), {"subsets": 2}, "largest valid size is 5"),
        (torch.ones(5, 3), torch.ones(5, 3), {"subsets": 1, "subset_size": 3}, "2 or more"),
        (torch.ones(5, 3), torch.ones(5, 3), {"subset_size": 1}, "2 or more"),
        (torch.ones(5, 3), torch.ones(5, 3), {"convention": "prdc"}, "torch-fidelity"),
        (torch.randn(5, 3).double() * 1e120, torch.ones(5, 3).double(), {}, "overflow"),
    ],
)
def test_bad_input_is_named(score, fake, real, arguments, message):
    with pytest.raises(MetricError, match=message):
        score(Kernel(**arguments), fake, real)
