"""Mixtures of discretised logistics: masses that sum to one, and draws that follow them."""

from __future__ import annotations

import pytest
import torch

from reference_models.pixel_distributions import (
    draw,
    logistic_log_prob,
    mixture_log_prob,
    parameter_count,
    scaled,
)


def test_levels_are_scaled_to_the_whole_range() -> None:
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("mean", [-3.0, -1.0, -0.31, 0.0, 0.998, 2.5])
@pytest.mark.parametrize("log_scale", [-9.0, -7.0, -4.0, -1.0, 2.0])
def test_the_masses_of_all_levels_sum_to_one(mean: float, log_scale: float) -> None:
    levels = scaled(torch.arange(256).to(torch.uint8))
    masses = logistic_log_prob(levels, torch.tensor(mean), torch.tensor(log_scale)).exp()
    assert float(masses.sum()) == pytest.approx(1, abs=2e-3)
    assert torch.isfinite(masses).all()


def test_masses_are_differences_of_the_distribution_function() -> None:
    levels = scaled(torch.arange(256).to(torch.uint8)).double()
    mean, scale = 0.1, 0.2
    inner = torch.sigmoid((levels[:-1] + 1 / 255 - mean) / scale)
    expected = torch.diff(inner, prepend=inner.new_zeros(1), append=inner.new_ones(1))
    found = logistic_log_prob(levels, torch.tensor(mean), torch.tensor(scale).log()).exp()
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-7)


def test_far_tails_have_finite_logarithms_and_gradients() -> None:
    means = torch.tensor([-50.0, 0.0, 50.0], requires_grad=True)
    found = logistic_log_prob(torch.zeros(3), means, torch.full((3,), -7.0))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert means.grad is not None
    assert torch.isfinite(means.grad).all()


def test_a_mixture_of_gray_levels_sums_to_one() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(parameter_count(1, 4))
    levels = torch.arange(256).to(torch.uint8)[:, None]
    masses = mixture_log_prob(parameters.expand(256, -1), levels).exp()
    assert float(masses.sum()) == pytest.approx(1, abs=1e-3)


def test_draws_follow_the_masses() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(parameter_count(1, 4))
    count = 200_000
    drawn = draw(parameters.expand(count, -1), torch.rand(count, 2))
    masses = mixture_log_prob(
        parameters.expand(256, -1), torch.arange(256).to(torch.uint8)[:, None]
    ).exp()
    found = torch.bincount(drawn[:, 0].long(), minlength=256) / count
    assert float((found - masses).abs().sum()) < 0.05  # 256 levels of 200,000 draws: about 0.03


def test_draws_of_colours_follow_the_masses() -> None:
    """The mean log mass of draws equals minus their entropy, estimated through the masses."""
    torch.manual_seed(1)
    parameters = torch.randn(parameter_count(3, 2)) * 0.5
    parameters[8:14] -= 3  # log scales: narrow, so that red tells much of green and blue
    parameters[14:] += 1
    count = 20_000
    drawn = draw(parameters.expand(count, -1), torch.rand(count, 4)).float()
    mixing = torch.tanh(parameters[14:].unflatten(0, (3, 2)))
    assert (mixing > 0.4).any()
    assert torch.corrcoef(drawn.T)[0, 1] > 0.1
    inside = mixture_log_prob(parameters.expand(count, -1), drawn.to(torch.uint8))
    shuffled = drawn.clone()
    shuffled[:, 1] = drawn[torch.randperm(count), 1]
    outside = mixture_log_prob(parameters.expand(count, -1), shuffled.to(torch.uint8))
    assert inside.mean() > outside.mean()


def test_a_low_temperature_draws_the_likeliest() -> None:
    parameters = torch.tensor([2.0, 0.0, -0.5, 0.5, -2.0, -2.0])  # two components of one channel
    drawn = scaled(draw(parameters.expand(2000, -1), torch.rand(2000, 2), temperature=0.05))
    assert float((drawn < 0).float().mean()) > 0.999
    assert float(drawn.mean()) == pytest.approx(-0.5, abs=0.01)
