from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.diversity import GAUSSIAN_LIMIT, Rke, Vendi, vendi_of_kernel
from benchgen.metrics.pairs import gaussian
from benchgen.metrics.spectrum import renyi_diversity
from benchgen.stats.estimates import estimate
from benchgen.stats.paired import difference


def vendi(rows: torch.Tensor, **parameters) -> Score:
    family = Vendi(**parameters)
    return family.compute(family.prepare(), TensorFeatures(rows))["vendi"]


def rke(rows: torch.Tensor, real: torch.Tensor | None = None, **parameters) -> Score:
    family = Rke(**parameters)
    prepared = family.prepare(None if real is None else TensorFeatures(real))
    return family.compute(prepared, TensorFeatures(rows))["rke"]


def features(n: int, d: int, seed: int) -> torch.Tensor:
    """Rectified mixtures of Laplace variables: neither Gaussian nor isotropic."""
    mixing = np.random.default_rng(1).normal(size=(d, d)) / np.sqrt(d)
    rows = np.maximum(np.random.default_rng(seed).laplace(size=(n, d)) @ mixing, 0)
    return torch.from_numpy(rows)


def isotropic(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


@pytest.mark.parametrize(
    ("q", "expected"), [(1, 2.1573), (0.5, 2.420348), (2, 1.948052), ("inf", 1.578947)]
)
def test_published_numbers(q, expected):
    kernel = torch.tensor([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    assert vendi_of_kernel(kernel, q) == pytest.approx(expected, abs=5e-7 if q != 1 else 5e-5)


def test_three_pairs_of_samples_count_three():
    samples = torch.tensor([0.0, 0, 10, 10, 20, 20], dtype=torch.float64)
    kernel = (-(samples[:, None] - samples).abs()).exp()
    assert vendi_of_kernel(kernel) == pytest.approx(2.9999, abs=1e-4)


def test_orders_join_smoothly():
    eigenvalues = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    one = renyi_diversity(eigenvalues, 1.0)
    assert renyi_diversity(eigenvalues, 1 + 1e-9) == pytest.approx(one, rel=1e-8)
    assert renyi_diversity(eigenvalues, 2 - 1e-12) == pytest.approx(
        renyi_diversity(eigenvalues, 2.0), rel=1e-10
    )
    assert renyi_diversity(eigenvalues, 5000.0) == pytest.approx(
        renyi_diversity(eigenvalues, math.inf), rel=1e-3
    )


@pytest.mark.parametrize("q", [0.5, 1, 2, 7, "inf"])
@pytest.mark.parametrize(("n", "d"), [(200, 30), (30, 200)])
def test_parity_with_vendi_score(n, d, q):
    tool = pytest.importorskip("vendi_score.vendi")
    rows = features(n, d, 0)
    unit = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    ours = vendi(rows, q=q).value
    # For small orders, the rounding of null eigenvalues counts in the larger of the two matrices.
    small = min(unit @ unit.T / n, unit.T @ unit / n, key=len)
    assert ours == pytest.approx(tool.score_K(small * len(small), q=q), rel=1e-9)
    assert ours == pytest.approx(tool.score_dual(rows.numpy(), q=q), rel=1e-6)
    if q == 1:
        assert ours == pytest.approx(tool.score_X(rows.numpy()), rel=1e-8)
        assert vendi(rows, convention="dgm-eval").value == ours


@pytest.mark.parametrize("q", [0.5, 1, 2, "inf"])
def test_gaussian_parity_with_vendi_score(q):
    tool = pytest.importorskip("vendi_score.vendi")
    rows = features(150, 6, 0)
    kernel = (-torch.cdist(rows, rows).square() / (2 * 0.7**2)).exp()
    ours = vendi(rows, q=q, kernel="gaussian", sigma=0.7)
    assert ours.value == pytest.approx(tool.score_K(kernel.numpy(), q=q), rel=1e-8)


@pytest.mark.slow
def test_dual_is_much_faster():
    rows = torch.rand(10_000, 2048, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    ours = vendi(rows).value
    middle = time.perf_counter()
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.T / len(unit))
    assert (time.perf_counter() - middle) / (middle - start) > 3
    assert renyi_diversity(eigenvalues, 1.0) == pytest.approx(ours, rel=1e-8)


@pytest.mark.parametrize("q", [0.5, 1, 1.5, 3, "inf"])
def test_influence_is_the_effect_of_an_image(q):
    rows = features(800, 12, 3)
    whole = vendi(rows, q=q)
    drops = [vendi(rows[torch.arange(800) != i], q=q).value for i in (0, 5, 700)]
    found = whole.fake_influence[[0, 5, 700]].numpy()
    effects = 799 * (whole.value - np.array(drops)) + whole.details["bias"]
    np.testing.assert_allclose(found, effects, atol=0.03 * float(whole.fake_influence.std()))


@pytest.mark.parametrize("q", [0.5, 1, 2])
def test_bias_is_what_more_images_would_add(q):
    small = [vendi(features(300, 16, seed), q=q) for seed in range(60)]
    large = vendi(features(50_000, 16, 1000), q=q).value
    measured = np.mean([one.value for one in small]) - large
    assert np.mean([one.details["bias"] for one in small]) == pytest.approx(measured, rel=0.35)


@pytest.mark.parametrize("q", [0.5, 1, 2, "inf"])
def test_standard_error_matches_the_spread(q):
    seen = [estimate(vendi(features(160, 16, s), q=q), n=160, m=None) for s in range(150)]
    spread = np.std([one.value for one in seen], ddof=1)
    assert 0.85 < np.sqrt(np.mean([one.stderr**2 for one in seen])) / spread < 1.2


def test_standard_error_holds_where_the_first_order_vanishes():
    seen = [estimate(vendi(isotropic(120, 8, s)), n=120, m=None) for s in range(150)]
    spread = np.std([one.value for one in seen], ddof=1)
    assert 0.9 < np.sqrt(np.mean([one.stderr**2 for one in seen])) / spread < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("q", [0.5, 1, 2, "inf"])
def test_intervals_and_paired_differences_cover(q):
    own, apart = [], []
    for seed in range(500):
        rows = features(320, 32, seed)
        noise = np.random.default_rng(seed + 10**6).normal(size=rows.shape)
        pair = [
            estimate(vendi(x, q=q), n=320, m=None)
            for x in (rows, rows + 0.05 * torch.from_numpy(noise))
        ]
        own.append(pair[0])
        apart.append(difference(*pair, paired=True, shared_reference=True))
    for seen in (own, apart):
        target = np.mean([one.value for one in seen])
        covered = np.mean([one.interval[0] <= target <= one.interval[1] for one in seen])
        assert 0.92 <= covered <= 0.98


def test_no_interval_where_the_first_two_eigenvalues_are_too_close():
    found = vendi(isotropic(400, 8, 0), q="inf")
    assert found.fake_influence is None
    assert "finite q" in found.reason


def test_no_interval_where_each_image_adds_a_dimension():
    found = vendi(features(30, 200, 0))
    assert found.fake_influence is None
    assert "more images" in found.reason
    assert vendi(features(30, 200, 0), q=2).fake_influence is not None


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 9), st.floats(0.1, 5))
def test_tiles_do_not_matter(n, d, tile, sigma):
    rows = isotropic(n, d, n)
    before, gaussian._TILE = gaussian._TILE, tile
    try:
        found = rke(rows, sigma=sigma)
    finally:
        gaussian._TILE = before
    kernel = (-(rows[:, None] - rows).square().sum(dim=2) / sigma**2).exp()
    assert found.value == pytest.approx(1 / float(kernel.mean()), rel=1e-9)
    assert found.value == pytest.approx(
        vendi(rows, q=2, kernel="gaussian", sigma=sigma).value, rel=1e-12
    )


def test_rke_takes_its_bandwidth_from_the_reference():
    rows, real = features(100, 8, 0), features(300, 8, 1)
    found = rke(rows, real)
    assert found.details["sigma"] == pytest.approx(float(torch.pdist(real).median()) / 2)
    assert found.value == pytest.approx(rke(rows, sigma=found.details["sigma"]).value)
    # The reference's number is for as many images as were generated.
    same = [rke(features(100, 8, seed), real).value for seed in range(40)]
    assert found.details["of_reference"] == pytest.approx(np.mean(same), rel=0.15)


def test_rke_influence_is_the_effect_of_an_image():
    rows = features(300, 8, 3)
    whole = rke(rows, sigma=1.0)
    drops = [rke(rows[torch.arange(300) != i], sigma=1.0).value for i in (0, 200)]
    found = float(whole.fake_influence[0] - whole.fake_influence[200])
    assert found == pytest.approx(299 * (drops[1] - drops[0]), rel=0.05)


@pytest.mark.parametrize("draw", [features, isotropic])
def test_rke_standard_error_matches_the_spread(draw):
    seen = [estimate(rke(draw(160, 16, s), sigma=2.0), n=160, m=None) for s in range(150)]
    spread = np.std([one.value for one in seen], ddof=1)
    assert 0.85 < np.sqrt(np.mean([one.stderr**2 for one in seen])) / spread < 1.2


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_cosine_ignores_the_scale(scale):
    rows = features(50, 8, 0)
    rows[:, 0] += 0.1
    assert vendi(rows * scale).value == pytest.approx(vendi(rows).value, rel=1e-12)


def test_duplicates_far_apart_are_exact():
    rows = isotropic(5, 300, 0).repeat(4, 1) * 1e8
    assert rke(rows, sigma=1e-3).value == pytest.approx(5.0, rel=1e-12)
    assert vendi(rows, q=1, kernel="gaussian", sigma=1e-3).value == pytest.approx(5.0, rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 12),
    st.sampled_from(["rows", "constant", "duplicates", "a zero row"]),
    st.sampled_from([1e-300, 1e-8, 1.0, 1e8, 1e300]),
    st.sampled_from([0.3, 1.0, 2.0, 40.0, "inf"]),
    st.sampled_from([None, 1e-8, 1.0, 1e8]),
    st.sampled_from([torch.float32, torch.float64]),
)
@example(12, 1, "rows", 1.0, 40.0, 1.0, torch.float32)
def test_a_count_of_at_most_n_or_an_error(n, d, kind, scale, q, sigma, dtype):
    rows = isotropic(n, d, n)
    if kind == "constant":
        rows[:] = rows[0].clone()
    if kind == "duplicates":
        rows[n // 2 :] = rows[0].clone()
    if kind == "a zero row":
        rows[n // 2] = 0
    rows = (rows * scale).to(dtype)
    try:
        found = vendi(rows, q=q, kernel="cosine" if sigma is None else "gaussian", sigma=sigma)
    except MetricError:
        # Unscaled, only a row without a direction is refused.
        assert scale in (1e-300, 1e300) or sigma == 1e-8 or kind == "a zero row"
        return
    assert 1 - 1e-9 <= found.value <= n + 1e-9
    assert found.fake_influence is None or torch.isfinite(found.fake_influence).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vendi(q=0), "q is 0"),
        (lambda: Vendi(q="many"), "many"),
        (lambda: Vendi(q=float("nan")), "q is nan"),
        (lambda: Vendi(kernel="linear"), "'cosine' or 'gaussian'"),
        (lambda: Vendi(kernel="gaussian"), "needs sigma"),
        (lambda: Vendi(kernel="gaussian", sigma=-1.0), "sigma is -1"),
        (lambda: Vendi(sigma=1.0), "no sigma"),
        (lambda: Vendi(convention="prdc"), "dgm-eval"),
        (lambda: Vendi(q=2, convention="dgm-eval"), "leave both out"),
        (lambda: Rke(sigma=0.0), "sigma is 0"),
        (lambda: vendi(torch.zeros(3, 2)), "first is row 0"),
        (lambda: vendi(torch.full((3, 2), torch.nan)), "NaN"),
        (lambda: rke(torch.ones(3, 2)), "give sigma, or a reference"),
        (lambda: rke(torch.ones(3, 2), torch.ones(9, 2)), "duplicates"),
        (lambda: rke(torch.ones(3, 2), torch.ones(1, 2)), "1 row"),
        (lambda: rke(torch.ones(3, 2), torch.randn(9, 3)), "feature columns"),
        (lambda: rke(torch.randn(3, 2).double() * 1e200, sigma=1e-200), "overflow"),
        (lambda: vendi_of_kernel(torch.ones(3, 2)), r"\[n, n\]"),
        (lambda: vendi_of_kernel(torch.ones(3, 3) * 2), "ones on its diagonal"),
        (lambda: vendi_of_kernel(torch.eye(3) + torch.ones(3, 3).triu(1)), "not symmetric"),
        (lambda: vendi_of_kernel(torch.ones(3, 3) * 4 - 3 * torch.eye(3)), "negative eigenvalue"),
        (
            lambda: vendi(torch.ones(GAUSSIAN_LIMIT + 1, 2), kernel="gaussian", sigma=1.0),
            "at most 2048",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()


def test_parameters():
    assert Vendi(q="inf").parameters == {"q": "inf", "kernel": "cosine", "sigma": None}
    assert Vendi().parameters == Vendi(q=1, convention="dgm-eval").parameters
    assert Rke(2).parameters == {"sigma": 2.0}


def test_one_image_counts_one():
    assert vendi(torch.ones(1, 3)).value == pytest.approx(1.0)
    assert rke(torch.ones(1, 3), sigma=1.0).value == pytest.approx(1.0)
