from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.cmmd import Cmmd
from benchgen.metrics.kernel import Kernel
from benchgen.metrics.pairs import sums as kernel_sums
from benchgen.stats.estimates import estimate


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
    before, kernel_sums._TILE = kernel_sums._TILE, tile
    try:
        family = Kernel()
        found = family.compute(family.prepare(TensorFeatures(y)), TensorFeatures(x))["kid"]
    finally:
        kernel_sums._TILE = before
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


@pytest.mark.parametrize(("n", "m"), [(300, 400), (1200, 1100)])
def test_parity_with_clean_fid(score, relu_laplace, n, m):
    oracle = pytest.importorskip("cleanfid.fid")
    real, fake = relu_laplace(8, n, m, 1.1, 0.1)(np.random.default_rng(0))
    state = np.random.get_state()
    np.random.seed(5)
    theirs = oracle.kernel_distance(real.numpy(), fake.numpy(), num_subsets=6)
    np.random.set_state(state)
    ours = score(Kernel(subsets=6, seed=5, convention="clean-fid"), fake, real)["kid"]
    assert ours.value == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_parity_with_torchmetrics(score, relu_laplace, dtype, tolerance):
    oracle = pytest.importorskip("torchmetrics.image.kid")
    real, fake = (x.to(dtype) for x in relu_laplace(24, 500, 700, 1.1, 0.1)(_generator(0)))
    with torch.random.fork_rng(devices=[]):
        theirs = oracle.KernelInceptionDistance(torch.nn.Identity(), subsets=10, subset_size=100)
        theirs.set_dtype(dtype)
        theirs.real_features.append(real)
        theirs.fake_features.append(fake)
        torch.manual_seed(7)
        mean, std = theirs.compute()
    family = Kernel(subsets=10, subset_size=100, seed=7, convention="torchmetrics")
    ours = score(family, fake, real)["kid"]
    assert ours.value == pytest.approx(float(mean), abs=tolerance)
    assert ours.details["subset_std"] == pytest.approx(float(std), abs=tolerance)


def test_parity_on_float32_features_of_an_inception_network_s_width(score, monkeypatch):
    oracle = pytest.importorskip("torch_fidelity.metric_kid")
    monkeypatch.setattr(kernel_sums, "_EXACT_WORK", 0)
    real, fake = torch.rand(300, 2048), torch.rand(320, 2048) * 1.02
    theirs = oracle.kid_features_to_metric(
        fake, real, kid_subsets=5, kid_subset_size=250, rng_seed=2020, verbose=False,
        kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1.0,
    )  # fmt: skip
    family = Kernel(subsets=5, subset_size=250, convention="torch-fidelity")
    ours = score(family, fake, real)["kid"].value
    mean_kernel = float((fake[0] @ real[0] / 2048 + 1) ** 3)
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-6 * mean_kernel)


@pytest.mark.parametrize("convention", ["torch-fidelity", "clean-fid", "torchmetrics"])
def test_convention_draws_a_hundred_subsets_of_a_thousand(convention):
    resolved = Kernel(convention=convention).parameters
    assert (resolved["subsets"], resolved["subset_size"]) == (100, 1000)


def test_influence_is_the_effect_of_an_image(score, relu_laplace):
    real, fake = relu_laplace(8, 200, 150, 1.2, 0.2)(np.random.default_rng(3))
    whole = score(Kernel(), fake, real)["kid"]
    for i in (0, 50, 149):
        keep = torch.arange(150) != i
        effect = 149 * (whole.value - score(Kernel(), fake, real[keep])["kid"].value)
        tolerance = 0.02 * float(whole.real_influence.std())
        assert float(whole.real_influence[i]) == pytest.approx(effect, rel=0.02, abs=tolerance)


@pytest.mark.parametrize(
    ("d", "scale", "shift"),
    [(16, 1.3, 0.3), pytest.param(64, 1.2, 0.1, marks=pytest.mark.slow)],
)
def test_standard_error_matches_the_spread(stderr_over_spread, relu_laplace, d, scale, shift):
    ratio = stderr_over_spread(Kernel(), relu_laplace(d, 150, 180, scale, shift), 150)["kid"]
    assert 0.8 < ratio < 1.2


def test_standard_error_holds_at_equality(stderr_over_spread, relu_laplace):
    ratio = stderr_over_spread(Kernel(), relu_laplace(32, 150, 150, 1.0, 0.0), 150)["kid"]
    assert 0.8 < ratio < 1.35


@pytest.mark.slow
def test_standard_error_counts_the_draw_of_subsets(stderr_over_spread, relu_laplace):
    family = Kernel(subsets=5, subset_size=60)
    ratio = stderr_over_spread(family, relu_laplace(16, 150, 150, 1.3, 0.3), 100)["kid"]
    assert 0.75 < ratio < 1.25


def test_negative_values_are_kept_and_explained(score):
    rows = torch.randn(300, 16, dtype=torch.float64)
    found = score(Kernel(), rows, rows)["kid"]
    assert found.value < 0
    assert "negative" in found.notes[0]


@pytest.mark.parametrize("d", [64, 2048])
def test_float32_tiles_are_exact_enough(score, monkeypatch, d):
    x, y = torch.rand(500, d) * 0.8, torch.rand(400, d) * 0.8
    exact = score(Kernel(), x, y)["kid"]
    monkeypatch.setattr(kernel_sums, "_EXACT_WORK", 0)
    fast = score(Kernel(), x, y)["kid"]
    error = estimate(exact, n=500, m=400).stderr
    assert error is not None
    assert 0 < abs(fast.value - exact.value) < 1e-3 * error
    assert torch.allclose(fast.fake_influence, exact.fake_influence, atol=1e-6)
    assert fast.extra_variance == pytest.approx(exact.extra_variance, rel=1e-2)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("power", [-8, 8])
def test_scale_neither_overflows_nor_vanishes(score, monkeypatch, dtype, relative, power):
    """At a small scale 3 x·y/d rules, at a large one (x·y/d)³."""
    monkeypatch.setattr(kernel_sums, "_EXACT_WORK", 0 if dtype == torch.float32 else 2**30)
    x, y = torch.rand(60, 5).double() * 1.5, torch.rand(50, 5).double()
    if power < 0:
        expected = 3 * _unbiased(x @ x.T / 5, y @ y.T / 5, x @ y.T / 5) * 10.0 ** (2 * power)
    else:
        parts = ((a @ b.T / 5) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        expected = _unbiased(*parts) * 10.0 ** (6 * power)
    found = score(Kernel(), (x * 10.0**power).to(dtype), (y * 10.0**power).to(dtype))["kid"]
    assert found.value == pytest.approx(expected, rel=relative)
    assert float(found.fake_influence.abs().max()) > 0


@pytest.mark.parametrize(("n", "m", "largest", "blocks"), [(90, 47, 30, 3), (20, 300, 50, 6)])
def test_above_the_largest_number_pairs_are_taken_in_blocks(score, n, m, largest, blocks):
    x, y = torch.randn(n, 4).double() + 0.5, torch.randn(m, 4).double()
    whole, parts = (score(Kernel(largest=k), x, y)["kid"] for k in (300, largest))
    assert parts.details["blocks"] == blocks
    assert parts.details["pairs_share"] == pytest.approx(1 / blocks, rel=0.05)
    assert f"{blocks} blocks" in parts.notes[0]
    assert "blocks" not in whole.details
    assert abs(parts.value - whole.value) < float(whole.fake_influence.std()) / n**0.5
    assert torch.all(parts.fake_influence != 0)
    assert parts.fake_influence.shape == (n,)
    assert _correlation(parts.fake_influence, whole.fake_influence) > 0.5


def test_blocks_keep_the_reference_of_another_size(score):
    """The reference alone would need no blocks; the generator's images do."""
    x, y = torch.randn(100, 3).double(), torch.randn(40, 3).double()
    family = Kernel(largest=50)
    prepared = family.prepare(TensorFeatures(y))
    few = family.compute(prepared, TensorFeatures(x[:50]))["kid"]
    many = family.compute(prepared, TensorFeatures(x))["kid"]
    assert many.details["blocks"] == 2
    assert few.value == score(Kernel(), x[:50], y)["kid"].value


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_standard_error_counts_what_blocks_leave_out(stderr_over_spread, relu_laplace, shift):
    family = Kernel(largest=40)
    ratio = stderr_over_spread(family, relu_laplace(16, 160, 120, 1.0, shift), 100)["kid"]
    assert 0.8 < ratio < 1.35


def test_strata_of_a_few_images_each(score):
    """As many strata as half the images: the mean over them is still unbiased at equality."""
    values, errors = [], []
    for seed in range(150):
        rng = _generator(seed)
        labels = torch.arange(60) // 2
        centres = np.random.default_rng(1).normal(size=(30, 4)) * 0.5
        rows = [torch.from_numpy(centres[labels] + rng.normal(size=(60, 4))) for _ in range(2)]
        family = Kernel()
        sides = [TensorFeatures(one, labels) for one in rows]
        found = family.compute(family.prepare(sides[0]), sides[1])["kid"]
        values.append(found.value)
        errors.append(estimate(found, n=60, m=60).stderr)
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values)) < 4 * spread / 150**0.5
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / spread < 1.35


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 6),
    st.integers(-180, 180),
    st.booleans(),
    st.sampled_from([Kernel, Cmmd]),
    st.sampled_from([10, 20_000]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_a_number_or_a_reason(n, m, d, power, repeated, family, largest, dtype):
    rng = _generator(n * 100 + m)
    scale = 10.0 ** (power if dtype == torch.float64 else power // 6)
    x, y = (torch.from_numpy(rng.normal(size=(k, d)) * scale).to(dtype) for k in (n, m))
    if repeated:
        x, y = x[torch.arange(n) // 3], y[torch.zeros(m, dtype=torch.int64)]
    labels = torch.arange(n) % 3
    one = family(largest=largest)
    try:
        prepared = one.prepare(TensorFeatures(y))
        (found,) = one.compute(prepared, TensorFeatures(x, labels)).values()
    except MetricError:
        assert n < 2 or m < 2 or abs(power) > 11
        return
    assert found.value is not None
    assert torch.isfinite(found.fake_influence).all()
    assert torch.isfinite(found.real_influence).all()
    stderr = estimate(found, n=n, m=m).stderr
    assert stderr is not None
    assert np.isfinite(stderr)


def test_parameters_say_what_decides_the_number():
    assert Kernel().parameters == Kernel(seed=3, subset_size=7).parameters
    assert Kernel().parameters != Kernel(largest=100).parameters
    fidelity, mean = Kernel(convention="torch-fidelity"), Kernel(convention="torchmetrics")
    assert fidelity.parameters == Kernel(subsets=100).parameters
    assert fidelity.parameters != mean.parameters


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
        (
            torch.ones(5, 3),
            torch.ones(5, 3),
            {"convention": "prdc"},
            "torch-fidelity.*torchmetrics",
        ),
        (torch.ones(5, 3), torch.ones(5, 3), {"largest": 1}, "largest is 1"),
        (torch.ones(5, 3).double() * 1e-40, torch.ones(5, 3).double(), {}, "fake.*vanish.*rescale"),
        (torch.randn(5, 3).double() * 1e120, torch.ones(5, 3).double(), {}, "overflow"),
    ],
)
def test_bad_input_is_named(score, fake, real, arguments, message):
    with pytest.raises(MetricError, match=message):
        score(Kernel(**arguments), fake, real)


def _unbiased(xx: torch.Tensor, yy: torch.Tensor, xy: torch.Tensor) -> float:
    within = [float((k.sum() - k.trace()) / (len(k) * (len(k) - 1))) for k in (xx, yy)]
    return sum(within) - 2 * float(xy.mean())


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
