from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.neighbours import Neighbours, expected_coverage
from benchgen.metrics.pairs import distances, visits
from benchgen.stats.estimates import estimate
from benchgen.stats.paired import difference


def direct(fake: torch.Tensor, real: torch.Tensor, k: int, boundary: str) -> dict[str, float]:
    def radii(x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] - x[None]).norm(dim=2).kthvalue(k + 1).values

    between = (fake[:, None] - real[None]).norm(dim=2)
    less = torch.le if boundary == "<=" else torch.lt
    in_real, in_fake = less(between, radii(real)), less(between.T, radii(fake))
    return {
        "precision": float(in_real.any(dim=1).double().mean()),
        "recall": float(in_fake.any(dim=1).double().mean()),
        "density": float(in_real.double().sum(dim=1).mean() / k),
        "coverage": float(in_real.any(dim=0).double().mean()),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.integers(8, 40), st.integers(8, 40), st.integers(1, 6), st.integers(1, 5),
    st.sampled_from(["<", "<="]), st.integers(0, 3),
)  # fmt: skip
def test_matches_the_definition_on_lattices_full_of_ties(n, m, d, k, boundary, levels):
    rng = np.random.default_rng(n * 1000 + m * 10 + d)
    fake, real = (torch.from_numpy(rng.integers(0, levels + 1, (r, d)) * 1.0) for r in (n, m))
    family = Neighbours(k=k, boundary=boundary)
    found = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))
    expected = direct(fake, real, k, boundary)
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    for one in found.values():
        assert one.fake_influence.shape == (n,)
        assert one.real_influence.shape == (m,)
        assert torch.isfinite(one.fake_influence).all()
        assert torch.isfinite(one.real_influence).all()


@pytest.mark.parametrize(("boundary", "density"), [("<", 1.0), ("<=", 1.2)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_identical_sets(score, boundary, density, offset):
    rows = torch.randn(700, 20) + offset
    found = score(Neighbours(k=5, boundary=boundary), rows, rows)
    assert found["density"].value == pytest.approx(density, rel=1e-12)
    assert found["precision"].value == found["recall"].value == found["coverage"].value == 1.0


def test_duplicates_and_constant_features(score):
    rows = torch.full((30, 4), 0.1)
    assert score(Neighbours(boundary="<="), rows, rows)["precision"].value == 1.0
    assert score(Neighbours(boundary="<"), rows, rows)["precision"].value == 0.0


@pytest.fixture(params=[(12, 400, 300), (2048, 320, 280)], ids=["d12", "d2048"])
def pair(request, relu_laplace):
    d, n, m = request.param
    real, fake = relu_laplace(d, n, m, 1.2, 0.1)(np.random.default_rng(0))
    return real.float(), fake.float()


def test_parity_with_torch_fidelity(score, pair):
    oracle = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = pair
    theirs = oracle.prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=128, save_cpu_ram=True, verbose=False
    )
    ours = score(Neighbours(convention="torch-fidelity"), fake, real)
    for name, n in (("precision", len(fake)), ("recall", len(real))):
        assert round(ours[name].value * n) == round(theirs[name] * n)


@pytest.mark.parametrize("convention", ["prdc", "dgm-eval"])
def test_parity_with_prdc(score, pair, convention):
    oracle = pytest.importorskip("prdc")
    real, fake = pair
    theirs = oracle.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    ours = score(Neighbours(convention=convention), fake, real)
    n, m = len(fake), len(real)
    for name, unit in (("precision", n), ("recall", m), ("density", 5 * n), ("coverage", m)):
        assert round(ours[name].value * unit) == round(theirs[name] * unit)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_features_does_not_matter(score, pair, scale):
    """Powers of two near these, so that scaling does not round."""
    real, fake = pair
    exact = 2.0 ** round(np.log2(scale))
    plain, scaled = (score(Neighbours(), fake * by, real * by) for by in (1, exact))
    for name, one in plain.items():
        assert scaled[name].value == one.value


def test_where_float32_leaves_too_much_open_float64_decides(score, pair, monkeypatch):
    real, fake = pair
    plain = score(Neighbours(), fake, real)
    monkeypatch.setattr(visits, "_OPEN_AT_LEAST", 0)
    monkeypatch.setattr(visits, "_OPEN_SHARE", 0.0)
    finer = score(Neighbours(), fake, real)
    assert {k: s.value for k, s in finer.items()} == {k: s.value for k, s in plain.items()}


def test_too_many_pairs_to_hold_are_said(score, monkeypatch):
    fake, real = torch.randn(80, 4), torch.randn(80, 4)
    plain = score(Neighbours(), fake, real)
    monkeypatch.setattr(visits, "_PAIRS_AT_LEAST", 10)
    monkeypatch.setattr(visits, "_PAIRS_PER_POINT", 0)
    for name, one in score(Neighbours(), fake, real).items():
        assert one.value == plain[name].value
        assert "conservative" in one.notes[0]


def test_prdc_convention_is_five_neighbours_and_an_open_ball(score):
    fake, real = torch.randn(200, 8), torch.randn(150, 8)
    named = score(Neighbours(convention="prdc"), fake, real)
    spelled = score(Neighbours(k=5, boundary="<"), fake, real)
    assert {k: s.value for k, s in named.items()} == {k: s.value for k, s in spelled.items()}


def test_equal_distributions_meet_the_expected_values(score):
    density, coverage = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        fake, real = (torch.from_numpy(rng.normal(size=(n, 5))) for n in (150, 250))
        found = score(Neighbours(k=4), fake, real)
        density.append(found["density"].value)
        coverage.append(found["coverage"].value)
    ceiling = found["coverage"].details["expected_if_equal"]
    assert ceiling == expected_coverage(250, 150, 4)
    assert np.mean(coverage) == pytest.approx(ceiling, abs=0.02)
    assert np.mean(density) == pytest.approx(1.0, abs=0.04)


def test_tiles_do_not_matter(score, monkeypatch):
    fake, real = torch.randn(150, 6), torch.randn(170, 6)
    whole = score(Neighbours(), fake, real)
    monkeypatch.setattr(distances, "_TILE_SIDE", 17)
    tiled = score(Neighbours(), fake, real)
    for name, one in whole.items():
        assert tiled[name].value == one.value
        torch.testing.assert_close(tiled[name].fake_influence, one.fake_influence)
        torch.testing.assert_close(tiled[name].real_influence, one.real_influence)


def test_other_side_is_what_leaving_an_image_out_changes(score):
    """In proportion: its scale is measured by halving."""
    fake, real = torch.randn(60, 4).double(), torch.randn(50, 4).double() * 1.1
    whole = score(Neighbours(), fake, real)
    cases = (("precision", "real"), ("density", "real"), ("recall", "fake"), ("coverage", "fake"))
    for name, side in cases:
        effects = []
        for i in range(50 if side == "real" else 60):
            keep = torch.arange(50 if side == "real" else 60) != i
            pair = (fake, real[keep]) if side == "real" else (fake[keep], real)
            effects.append(whole[name].value - score(Neighbours(), *pair)[name].value)
        influence = whole[name].real_influence if side == "real" else whole[name].fake_influence
        assert np.corrcoef(effects, influence.numpy())[0, 1] == pytest.approx(1.0, abs=1e-9)


def gaussians(d: int, n: int, m: int, scale: float, shift: float):
    def draw(rng):
        real, fake = rng.normal(size=(m, d)), rng.normal(size=(n, d)) * scale + shift
        return torch.from_numpy(real), torch.from_numpy(fake)

    return draw


@pytest.mark.parametrize(("d", "m", "scale", "shift"), [(4, 150, 1.0, 0.0), (16, 250, 0.8, 0.3)])
def test_standard_error_matches_the_spread(stderr_over_spread, d, m, scale, shift):
    draw = gaussians(d, 150, m, scale, shift)
    for name, ratio in stderr_over_spread(Neighbours(), draw, 100).items():
        assert 0.7 < ratio < 1.3, (name, ratio)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_errors_of_paired_differences_match_their_spread(score, scale):
    """Influences alone would overstate them: what balls share is not theirs to say."""
    found = {name: [] for name in ("precision", "recall", "density", "coverage")}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        real = torch.from_numpy(rng.normal(size=(200, 8)))
        same, own = rng.normal(size=(160, 8)), rng.normal(size=(2, 160, 8))
        pair = [
            torch.from_numpy(s * (0.8 * same + 0.6 * o))
            for s, o in zip((1, scale), own, strict=True)
        ]
        scores = [score(Neighbours(k=5), fake, real) for fake in pair]
        for name, kept in found.items():
            sides = [estimate(one[name], n=160, m=200) for one in scores]
            kept.append(difference(*sides, paired=True, shared_reference=True))
    for name, kept in found.items():
        spread = np.std([one.value for one in kept], ddof=1)
        stderr = np.mean([one.stderr**2 for one in kept]) ** 0.5
        assert 0.8 < stderr / spread < 1.2, (name, stderr / spread)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "scale", "shift", "k"),
    [
        (2, 0.8, 0.5, 3),
        (4, 1.0, 0.0, 5),
        (16, 1.2, 0.3, 5),
        (64, 0.9, 0.1, 3),
        (64, 0.7, 0.1, 3),
        (64, 0.5, 0.0, 3),
    ],
)
def test_standard_error_holds_from_plane_to_saturation(stderr_over_spread, d, scale, shift, k):
    draw = gaussians(d, 300, 300, scale, shift)
    ratios = stderr_over_spread(Neighbours(k=k), draw)
    assert "density" in ratios  # the shares may be 0 or 1 every time
    for name, ratio in ratios.items():
        assert 0.7 < ratio < 1.3, (name, ratio)


def test_saturated_density_says_that_its_error_is_conservative(score):
    found = score(Neighbours(), torch.randn(100, 64) * 0.1, torch.randn(100, 64))
    assert found["density"].value > 10
    assert "conservative" in found["density"].notes[0]


@pytest.mark.parametrize(
    ("fake", "real", "message"),
    [
        (torch.ones(3, 2), torch.ones(9, 2), "k of at most 2"),
        (torch.ones(9, 2), torch.ones(3, 2), "k of at most 2"),
        (torch.ones(1, 2), torch.ones(9, 2), "at least 4 images"),
        (torch.ones(9, 2), torch.ones(9, 3), "feature columns"),
        (torch.full((9, 2), torch.nan), torch.ones(9, 2), "NaN"),
        (torch.randn(9, 2).double() * 1e200, torch.ones(9, 2).double(), "overflow"),
    ],
)
def test_bad_input_is_named(score, fake, real, message):
    with pytest.raises(MetricError, match=message):
        score(Neighbours(), fake, real)


def test_smallest_possible_sets(score):
    found = score(Neighbours(), torch.randn(4, 2), torch.randn(4, 2))
    assert all(one.value >= 0 for one in found.values())


@pytest.mark.parametrize("arguments", [{"k": 0}, {"boundary": "=="}, {"convention": "adm"}])
def test_parameters_are_checked(arguments):
    with pytest.raises(MetricError):
        Neighbours(**arguments)
