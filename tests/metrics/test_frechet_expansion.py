"""The second-order terms of the Fréchet distance, against their definitions as double sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.covariances.bias import higher_order_bias
from benchgen.metrics.covariances.moments import moments
from benchgen.metrics.covariances.quadrature import reciprocal_sum
from benchgen.metrics.covariances.transport import factor, transport
from benchgen.metrics.frechet import Expansion, FrechetReference, expand_both

GENERATOR = torch.Generator().manual_seed(11)


def exponential(n: int, d: int, scale: float = 1.0) -> Tensor:
    return torch.empty(n, d, dtype=torch.float64).exponential_(generator=GENERATOR) * scale


def expansion(fake: Tensor, real: Tensor, strata: Tensor | None = None) -> Expansion:
    ours = TensorFeatures(fake, strata)
    return expand_both(FrechetReference.of(TensorFeatures(real)), ours, moments(ours))


def balanced(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    map_ = transport(factor(torch.cov(real.T)), torch.cov(fake.T))
    return (
        (fake - fake.mean(0)) @ map_.from_fake,
        (real - real.mean(0)) @ map_.from_real,
        map_.singular,
    )


@pytest.mark.parametrize("tolerance", [1e-9, 1e-4])
@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-6])
def test_reciprocals_of_sums(smallest, tolerance):
    x = torch.logspace(0, float(torch.tensor(smallest).log10()), 60, dtype=torch.float64) * 37.0
    found = reciprocal_sum(x, tolerance)
    approximate = (found.decay * found.weights) @ found.decay.T
    assert float((approximate * (x[:, None] + x) - 1).abs().max()) < tolerance
    assert len(found.weights) < 70


def test_both_sides_have_one_covariance_in_balanced_coordinates():
    fake, real = exponential(80, 5, 2.0), exponential(90, 5)
    x, y, s = balanced(fake, real)
    torch.testing.assert_close(torch.cov(x.T), torch.diag(s))
    torch.testing.assert_close(torch.cov(y.T), torch.diag(s))


def test_a_singular_reference_has_a_factor_too():
    rows = torch.cat([exponential(50, 3), torch.ones(50, 1).double()], dim=1)
    covariance = torch.cov(rows.T)
    found = factor(covariance)
    torch.testing.assert_close(found.left @ found.left.T, covariance)
    torch.testing.assert_close(found.left @ found.inverse @ covariance, covariance)


def test_bias_through_the_root():
    fake, real = exponential(60, 4, 1.5), exponential(70, 4)
    x, _, s = balanced(fake, real)
    products = x[:, :, None] * x[:, None, :]
    spread = products.square().mean(dim=0) - torch.diag(s).square()
    expected = float((spread / (s[:, None] + s)).sum()) / (2 * 60)
    assert expansion(fake, real).fake.root_bias == pytest.approx(expected, rel=1e-3)


def test_bias_within_strata():
    labels = torch.arange(3000) % 3
    fake = exponential(3000, 3) * (1 + labels)[:, None] + labels[:, None]
    real = exponential(900, 3)
    x, _, s = balanced(fake, real)
    products = x[:, :, None] * x[:, None, :]
    within = sum(products[labels == k].var(dim=0) for k in range(3)) / 3
    expected = float((within / (s[:, None] + s)).sum()) / (2 * 3000)
    assert expansion(fake, real, labels).fake.root_bias == pytest.approx(expected, rel=0.02)


def test_interactions_of_images():
    fake, real = exponential(900, 3, 1.2), exponential(1000, 3)
    x, y, s = balanced(fake, real)

    def features(rows: Tensor) -> Tensor:
        products = rows[:, :, None] * rows[:, None, :] - torch.diag(s)
        curved = (products / (s[:, None] + s).sqrt()).flatten(1)
        return torch.cat([curved, rows * 2**0.5], dim=1)

    p, q = features(x), features(y)
    terms = expansion(fake, real).terms
    kernel = p @ p.T
    within = (kernel.square().sum() - kernel.diagonal().square().sum()) / (900 * 899)
    assert terms.fake == pytest.approx(float(within), rel=0.35)
    assert terms.between == pytest.approx(float((p @ q.T).square().mean()), rel=0.35)
    mean_squares = [terms.fake, terms.between, terms.real]
    assert terms.draws.square().mean(dim=1).tolist() == pytest.approx(mean_squares, rel=0.35)
    law = terms.law(1.0, 0.0, 0.0, 900, 1000)
    assert float(law.draws.square().mean(dim=1).sum()) == pytest.approx(law.null_variance, rel=0.35)


def test_higher_orders_for_many_normal_directions():
    """Two samples of one law, four images a direction: the distance is all bias."""
    d, n, m = 160, 640, 800
    scales = torch.linspace(0.3, 2.0, d, dtype=torch.float64)
    rows = [torch.randn(k, d, generator=GENERATOR, dtype=torch.float64) * scales for k in (n, m)]
    ours, theirs = (torch.cov(x.T) for x in rows)
    map_ = transport(factor(theirs), ours)
    s = map_.singular
    each = float((torch.outer(s, s) / (s[:, None] + s)).sum()) / 2
    second = each / n, each / m
    bias = float(ours.trace() + theirs.trace()) - 2 * map_.root_sum
    higher = higher_order_bias(s, *second)
    assert abs(bias - sum(second) - higher) < 0.02 * bias
    assert higher > 0.05 * bias


def test_no_directions_have_no_bias():
    assert higher_order_bias(torch.zeros(0, dtype=torch.float64), 0.0, 0.0) == 0.0
