from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.covariances.conventions import CONVENTIONS
from benchgen.metrics.frechet import Frechet, frechet_distance
from benchgen.stats.estimates import estimate

Tool = Callable[[torch.Tensor, torch.Tensor], float]


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


def _torch_fidelity(fake: torch.Tensor, real: torch.Tensor) -> float:
    tool = pytest.importorskip("torch_fidelity.metric_fid")
    ours, theirs = tool.fid_features_to_statistics(fake), tool.fid_features_to_statistics(real)
    return float(
        tool.fid_statistics_to_metric(ours, theirs, verbose=False)["frechet_inception_distance"]
    )


def _torchmetrics(fake: torch.Tensor, real: torch.Tensor) -> float:
    tool = pytest.importorskip("torchmetrics.image.fid")
    sides = (real.mean(dim=0), torch.cov(real.T), fake.mean(dim=0), torch.cov(fake.T))
    return float(tool._compute_fid(*sides))


def _by_sqrtm(distance: Callable[..., float]) -> Tool:
    def run(fake: torch.Tensor, real: torch.Tensor) -> float:
        sides = [(x.mean(0), np.cov(x, rowvar=False)) for x in (fake.numpy(), real.numpy())]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(np.real(distance(*sides[0], *sides[1])))
        except TypeError as error:
            pytest.skip(f"the tool asks for scipy's sqrtm(disp=), which this scipy lacks: {error}")

    return run


def _pytorch_fid(fake: torch.Tensor, real: torch.Tensor) -> float:
    tool = pytest.importorskip("pytorch_fid.fid_score")
    return _by_sqrtm(tool.calculate_frechet_distance)(fake, real)


def _clean_fid(fake: torch.Tensor, real: torch.Tensor) -> float:
    tool = pytest.importorskip("cleanfid.fid")
    return _by_sqrtm(tool.frechet_distance)(fake, real)


TOOLS: dict[str, Tool] = {
    "torch-fidelity": _torch_fidelity,
    "torchmetrics": _torchmetrics,
    "pytorch-fid": _pytorch_fid,
    "clean-fid": _clean_fid,
}


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 32), (40, 50, 64)], ids=["full", "singular"])
@pytest.mark.parametrize("convention", TOOLS)
def test_parity_with_the_tool(score, relu_laplace, convention, n, m, d):
    real, fake = relu_laplace(d, n, m, 1.2, 0.2)(np.random.default_rng(0))
    theirs = TOOLS[convention](fake, real)
    ours = score(Frechet(convention=convention), fake, real)["fid"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_conventions_agree_at_full_rank(score, relu_laplace):
    real, fake = relu_laplace(12, 100, 120, 1.2, 0.2)(np.random.default_rng(0))
    values = {score(Frechet(convention=name), fake, real)["fid"].value for name in CONVENTIONS}
    assert values == {score(Frechet(), fake, real)["fid"].value}


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


@pytest.mark.parametrize(("d", "n", "m", "scale"), [(16, 400, 250, 1.3), (32, 320, 320, 1.2)])
def test_corrected_value_is_unbiased(score, relu_laplace, d, n, m, scale):
    truth_draw = relu_laplace(d, 40_000, 40_000, scale, 0.2)
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
    [
        (16, 400, 400, 1.4, 0.4),
        pytest.param(32, 320, 500, 1.3, 0.3, marks=pytest.mark.slow),
        pytest.param(64, 640, 640, 1.3, 0.2, marks=pytest.mark.slow),
    ],
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
    assert "at least 65 images" in scores["fid"].reason
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


@pytest.mark.parametrize("convention", ["torch-fidelity", "torchmetrics"])
def test_conventions_follow_the_tool_into_singular_covariances(score, convention):
    fake, real = wide_spectrum(40, 128, 1), wide_spectrum(50, 128, 2)
    theirs = TOOLS[convention](fake, real)
    ours = score(Frechet(convention=convention), fake, real)["fid"].value
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("rows", [torch.randn(500, 8).double(), torch.ones(50, 3)])
def test_the_same_images_twice_are_no_two_samples(score, rows):
    scores = score(Frechet(), rows, rows.flip(0))
    for one in scores.values():
        assert one.value == 0.0
        assert one.fake_influence is None
        assert "same images" in one.reason


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
    assert any("approximate" in note for note in score(Frechet(), a + 1, b)["fid"].notes)


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
    with pytest.raises(MetricError, match="'torch-fidelity', 'torchmetrics', 'pytorch-fid'"):
        Frechet(convention="fid")


def test_spatial_distance_is_the_same_score(score):
    scores = score(Frechet(), *gaussian_pair(60, 3))
    assert scores["sfid"] is scores["fid"]


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_features_in_other_units(score, relu_laplace, scale, dtype):
    real, fake = (x.to(dtype) for x in relu_laplace(6, 90, 80, 1.3, 0.3)(np.random.default_rng(5)))
    plain, scaled = score(Frechet(), fake, real), score(Frechet(), fake * scale, real * scale)
    exact = 1e-9 if dtype == torch.float64 else 1e-5
    for name, one in plain.items():
        other = scaled[name]
        assert other.value == pytest.approx(one.value * scale**2, rel=exact)
        assert other.extra_variance == pytest.approx(one.extra_variance * scale**4, rel=10 * exact)
        for a, b in (
            (one.fake_influence, other.fake_influence),
            (one.real_influence, other.real_influence),
        ):
            torch.testing.assert_close(b / scale**2, a, rtol=10 * exact, atol=10 * exact)


def test_float32_features_lose_nothing_that_matters(score, relu_laplace):
    real, fake = relu_laplace(24, 400, 300, 1.1, 0.1)(np.random.default_rng(5))
    real, fake = real.float(), fake.float()
    fast, exact = score(Frechet(), fake, real), score(Frechet(), fake.double(), real.double())
    for name, one in exact.items():
        assert fast[name].value == pytest.approx(one.value, rel=1e-6)
        error = (fast[name].fake_influence - one.fake_influence).abs().max()
        assert error < 1e-5 * one.fake_influence.std()


@pytest.mark.parametrize("constant", ["fake", "real"])
def test_constant_features_on_one_side(score, constant):
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    flat = torch.full((40, 3), 2.0).double()
    fake, real = (flat, rows) if constant == "fake" else (rows, flat)
    expected = float((rows.mean(0) - 2).square().sum() + torch.cov(rows.T).trace())
    scores = score(Frechet(), fake, real)
    assert scores["fid"].value == pytest.approx(expected, rel=1e-12)
    # The mean square distance to a point has no bias but that of the squared mean.
    mean_bias = float(torch.cov(rows.T).trace()) / 50
    assert scores["fid-corrected"].value == pytest.approx(expected - mean_bias, rel=1e-12)


def test_one_dimension_has_a_closed_form(score):
    fake = torch.randn(60, 1, generator=torch.Generator().manual_seed(0)).double() * 2
    real = torch.randn(50, 1, generator=torch.Generator().manual_seed(1)).double() + 1
    expected = (fake.mean() - real.mean()) ** 2 + (fake.std() - real.std()) ** 2
    assert score(Frechet(), fake, real)["fid"].value == pytest.approx(float(expected), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(1, 12), d=st.integers(1, 6), kind=st.integers(0, 3))
def test_any_shape_gives_numbers_or_a_named_error(n, m, d, kind):
    rng = np.random.default_rng(n * 1000 + m * 10 + d)
    fake, real = (torch.from_numpy(rng.normal(size=(size, d))) for size in (n, m))
    if kind == 1:
        fake = fake[:1].repeat(n, 1)
    if kind == 2:
        real, fake = real.round(), fake.round()
    if kind == 3:
        fake[:, 0] = 0.0
    family = Frechet()
    if min(n, m) < 2:
        with pytest.raises(MetricError, match="at least 2 images"):
            family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))
        return
    scores = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))
    assert scores["fid"].value >= 0
    for one in scores.values():
        assert one.value is not None or one.reason
        found = estimate(one, n=n, m=m)
        assert found.stderr is None or found.stderr >= 0
        if one.fake_influence is not None:
            assert torch.isfinite(one.fake_influence).all()
            assert torch.isfinite(one.real_influence).all()


def coverage(draw, repetitions: int, truth: float) -> dict[str, tuple[float, float]]:
    """Standard error over spread, and percent covered: fid by its mean, corrected by the truth."""
    family, seen = Frechet(), []
    for seed in range(repetitions):
        real, fake = draw(np.random.default_rng(seed))
        scores = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))
        found = [estimate(scores[k], n=len(fake), m=len(real)) for k in ("fid", "fid-corrected")]
        seen.append([(one.value, one.stderr) for one in found])
    values = np.array(seen)
    result = {}
    for i, name in enumerate(("fid", "fid-corrected")):
        value, stderr = values[:, i].T
        target = value.mean() if name == "fid" else truth
        ratio = float(np.sqrt(np.mean(stderr**2)) / value.std(ddof=1))
        result[name] = ratio, 100 * float(np.mean(abs(value - target) <= 1.96 * stderr))
    return result


def test_errors_at_equality(relu_laplace):
    found = coverage(relu_laplace(16, 400, 400, 1.0, 0.0), 100, 0.0)
    for ratio, covered in found.values():
        assert 0.9 < ratio < 1.3
        assert covered > 92


@pytest.mark.slow
@pytest.mark.parametrize(("d", "n", "m"), [(32, 320, 320), (64, 640, 640), (32, 800, 320)])
def test_coverage_at_equality(relu_laplace, d, n, m):
    found = coverage(relu_laplace(d, n, m, 1.0, 0.0), 1000, 0.0)
    for ratio, covered in found.values():
        assert 0.9 < ratio < 1.15
        assert 92 < covered < 98.5
