from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.frechet import Frechet, frechet_distance, moments


class Blocks:
    """A feature set cut where a test wants it cut."""

    def __init__(self, rows: torch.Tensor, sizes: list[int]) -> None:
        self.parts = list(torch.split(rows, sizes))
        self.n, self.d = rows.shape

    def blocks(self):
        yield from self.parts


def gaussian_pair(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(2023)
    return torch.from_numpy(random.randn(n, d)), torch.from_numpy(random.randn(n, d))


@pytest.mark.parametrize(
    ("n", "d", "expected"),
    [(1024, 64, 2.2164077), (8192, 64, 0.27324011), (64, 256, 312.6840634)],
)
def test_published_values(score, n, d, expected):
    a, b = gaussian_pair(n, d)
    assert score(Frechet(), a, b)["fid"].value == pytest.approx(expected, rel=1e-7, abs=5e-8)


def test_unit_shift_is_exactly_the_dimension():
    eye = torch.eye(2048)
    assert frechet_distance(torch.zeros(2048), eye, torch.ones(2048), eye) == 2048.0


def test_commuting_covariances_have_a_closed_form():
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 1.0, 0.0])
    distance = frechet_distance(torch.zeros(3), torch.diag(a), torch.zeros(3), torch.diag(b))
    assert distance == pytest.approx(1 + 1 + 9, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 32), (1000, 1000, 64)])
def test_parity_with_torch_fidelity(score, relu_laplace, n, m, d):
    oracle = pytest.importorskip("torch_fidelity.metric_fid")
    real, fake = relu_laplace(d, n, m, 1.2, 0.2)(np.random.default_rng(0))
    theirs = oracle.fid_statistics_to_metric(
        oracle.fid_features_to_statistics(fake), oracle.fid_features_to_statistics(real), False
    )["frechet_inception_distance"]
    ours = score(Frechet(convention="torch-fidelity"), fake, real)["fid"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(12, 60), d=st.integers(1, 8))
def test_blocks_and_their_order_do_not_matter(data, n, d):
    rng = np.random.default_rng(n * 100 + d)
    rows, real = (torch.from_numpy(rng.normal(3.0, 1.0, size=(n, d))) for _ in range(2))
    cut = data.draw(st.integers(1, n - 1))
    family = Frechet()
    prepared = family.prepare(TensorFeatures(real))
    whole = family.compute(prepared, TensorFeatures(rows))
    cut_up = family.compute(prepared, Blocks(rows, [cut, n - cut]))
    turned = family.compute(prepared, Blocks(torch.cat([rows[cut:], rows[:cut]]), [n - cut, cut]))
    for name, one in whole.items():
        for other in (cut_up, turned):
            assert other[name].value == pytest.approx(one.value, rel=1e-10, abs=1e-12)
    torch.testing.assert_close(cut_up["fid"].fake_influence, whole["fid"].fake_influence)


def test_merge_is_exact_far_from_the_origin():
    rows = torch.randn(5000, 6, dtype=torch.float64) + 1e4
    merged = moments(Blocks(rows, [1, 7, 992, 4000]))
    torch.testing.assert_close(merged.covariance, torch.cov(rows.T), rtol=1e-10, atol=1e-12)
    assert merged.n == 5000


def test_influence_is_the_effect_of_an_image(score, relu_laplace):
    real, fake = relu_laplace(6, 800, 900, 1.3, 0.3)(np.random.default_rng(5))
    whole = score(Frechet(), fake, real)["fid"]
    for side, influence in (("fake", whole.fake_influence), ("real", whole.real_influence)):
        for i in (0, 17, 400):
            keep = torch.arange(len(influence)) != i
            pair = (fake[keep], real) if side == "fake" else (fake, real[keep])
            effect = (len(influence) - 1) * (whole.value - score(Frechet(), *pair)["fid"].value)
            tolerance = 0.05 * float(influence.std())
            assert float(influence[i]) == pytest.approx(effect, rel=0.05, abs=tolerance)


@pytest.mark.parametrize(("d", "n", "m", "scale"), [(16, 400, 250, 1.3), (48, 600, 900, 1.2)])
def test_corrected_value_is_unbiased(score, relu_laplace, d, n, m, scale):
    truth_draw = relu_laplace(d, 60_000, 60_000, scale, 0.2)
    real, fake = truth_draw(np.random.default_rng(99))
    truth = score(Frechet(), fake, real)["fid-corrected"].value
    draw = relu_laplace(d, n, m, scale, 0.2)
    pairs = []
    for seed in range(60):
        real, fake = draw(np.random.default_rng(seed))
        scores = score(Frechet(), fake, real)
        pairs.append((scores["fid"].value, scores["fid-corrected"].value))
    plain, corrected = np.mean(pairs, axis=0) - truth
    assert plain > 0
    assert abs(corrected) < 0.2 * plain


@pytest.mark.parametrize(
    ("d", "n", "m", "scale", "shift"),
    [(16, 400, 400, 1.4, 0.4), (32, 320, 500, 1.3, 0.3), (64, 640, 640, 1.3, 0.2)],
)
def test_standard_error_matches_the_spread(stderr_over_spread, relu_laplace, d, n, m, scale, shift):
    ratios = stderr_over_spread(Frechet(), relu_laplace(d, n, m, scale, shift))
    for name, ratio in ratios.items():
        assert 0.8 < ratio < 1.2, (name, ratio)


def test_too_few_images_give_a_flagged_value(score):
    a, b = gaussian_pair(32, 64)
    scores = score(Frechet(), a, b)
    assert scores["fid"].value > 0
    assert scores["fid"].fake_influence is None
    assert "more than 64 images" in scores["fid"].reason
    assert scores["fid-corrected"].value is None
    assert scores["fid-corrected"].reason


def wide_spectrum(n: int, d: int, seed: int) -> torch.Tensor:
    """Features of which one direction outweighs the smallest by ten million."""
    random = np.random.RandomState(seed)
    return torch.from_numpy(random.randn(n, d) * np.logspace(2, -5, d))


@pytest.mark.parametrize(("n", "m", "d"), [(40, 50, 128), (40, 300, 128), (300, 40, 128)])
def test_singular_covariances_lose_nothing(score, n, m, d):
    """Against the nuclear norm of the cross products, the definition without any root."""
    fake, real = wide_spectrum(n, d, 1), wide_spectrum(m, d, 2)
    x, y = fake - fake.mean(0), real - real.mean(0)
    cross = torch.linalg.svdvals(x @ y.T).sum() / ((n - 1) * (m - 1)) ** 0.5
    traces = x.square().sum() / (n - 1) + y.square().sum() / (m - 1)
    exact = (fake.mean(0) - real.mean(0)).square().sum() + traces - 2 * cross
    found = score(Frechet(), fake, real)["fid"]
    assert found.value == pytest.approx(float(exact), rel=1e-9)
    assert found.fake_influence is None


def test_the_convention_follows_torch_fidelity_into_singular_covariances(score):
    oracle = pytest.importorskip("torch_fidelity.metric_fid")
    fake, real = wide_spectrum(40, 128, 1), wide_spectrum(50, 128, 2)
    theirs = oracle.fid_statistics_to_metric(
        oracle.fid_features_to_statistics(fake),
        oracle.fid_features_to_statistics(real),
        verbose=False,
    )["frechet_inception_distance"]
    ours = score(Frechet(convention="torch-fidelity"), fake, real)["fid"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_identical_sets(score):
    rows = torch.randn(500, 8, dtype=torch.float64)
    scores = score(Frechet(), rows, rows)
    assert scores["fid"].value == pytest.approx(0.0, abs=1e-10)
    assert scores["fid-corrected"].value < 0
    assert any("equality" in note for note in scores["fid"].notes)


def test_constant_columns_are_left_out_and_counted(score):
    a, b = gaussian_pair(400, 4)
    plain = score(Frechet(), a, b)
    wide = [torch.cat([x, torch.full((400, 3), 7.0)], dim=1) for x in (a, b)]
    padded = score(Frechet(), *wide)
    for name in plain:
        assert padded[name].value == pytest.approx(plain[name].value, rel=1e-9)
        assert padded[name].details["null_directions"] == 3
    torch.testing.assert_close(padded["fid"].real_influence, plain["fid"].real_influence)


def test_constant_features_on_both_sides(score):
    rows = torch.ones(50, 3)
    scores = score(Frechet(), rows, rows + 2)
    assert scores["fid"].value == pytest.approx(12.0)
    assert scores["fid-corrected"].value == pytest.approx(12.0)


def test_few_images_per_dimension_are_noted(score):
    a, b = gaussian_pair(100, 20)
    assert any("conservative" in note for note in score(Frechet(), a + 1, b)["fid"].notes)


@pytest.mark.parametrize(
    ("fake", "real", "message"),
    [
        (torch.ones(1, 3), torch.ones(5, 3), "at least 2 images"),
        (torch.ones(5, 3), torch.ones(1, 3), "at least 2 images"),
        (torch.ones(5, 3), torch.ones(5, 4), "3 feature columns and real has 4"),
        (torch.full((5, 3), torch.nan), torch.ones(5, 3), "fake holds a NaN"),
        (torch.randn(5, 3).double() * 1e200, torch.ones(5, 3), "overflow"),
        (torch.ones(0, 3), torch.ones(5, 3), "at least 2 images"),
    ],
)
def test_bad_input_is_named(score, fake, real, message):
    with pytest.raises(MetricError, match=message):
        score(Frechet(), fake.double(), real.double())


def test_reference_and_convention_are_checked():
    with pytest.raises(MetricError, match="reference"):
        Frechet().prepare(None)
    with pytest.raises(MetricError, match="torch-fidelity"):
        Frechet(convention="clean-fid")
