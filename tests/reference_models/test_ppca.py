"""PPCA against what linear algebra says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from reference_models.noise import SeededNoise
from reference_models.ppca import Config, PPCARecipe
from reference_models.training import Batch, fit

SHAPE = (1, 4, 4)
CONFIG = Config(shape=SHAPE, classes=2, components=3)


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    loadings = torch.randn(2, 3, 16, generator=generator) * 0.06
    latent = torch.randn(600, 3, generator=generator)
    noise = 0.05 * torch.randn(600, 16, generator=generator)
    flat = 0.4 + 0.2 * labels[:, None] + torch.einsum("nk,nkp->np", latent, loadings[labels])
    images = ((flat + noise).clamp(0, 1) * 255).round() / 255
    return images.unflatten(1, SHAPE), labels


def _fitted() -> PPCARecipe:
    images, labels = _images()

    def data(epoch: int) -> Iterator[Batch]:
        for start in range(0, 600, 100):
            yield images[start : start + 100], labels[start : start + 100]

    recipe = PPCARecipe(CONFIG)
    fit(recipe, data, epochs=1, seed=0)
    return recipe


@pytest.mark.parametrize("kind", [0, 1])
def test_the_solution_is_tipping_and_bishops(kind: int) -> None:
    images, labels = _images()
    rows = images.flatten(1)[labels == kind]
    values, vectors = np.linalg.eigh(np.cov(rows.numpy().T, bias=True))
    model = _fitted().model
    level = 1 / 12 / 255**2  # the variance of the noise of one level
    assert model.means[kind].numpy() == pytest.approx(rows.mean(0).numpy(), abs=1e-3)
    variance = float((2 * model.log_noise[kind]).exp())
    assert variance == pytest.approx(values[:-3].mean() + level, rel=0.02)
    found = model.directions[kind] @ model.directions[kind].T
    expected = vectors[:, -3:] @ np.diag(values[-3:] - values[:-3].mean()) @ vectors[:, -3:].T
    assert found.numpy() == pytest.approx(expected, abs=0.03 * values[-1])


def test_the_likelihood_is_that_of_a_gaussian() -> None:
    model = _fitted().model
    images = (_images()[0][:5] * 255).round().to(torch.uint8)
    labels = torch.tensor([0, 1, 0, 1, 0])
    found = model.log_likelihood(images, labels, SeededNoise(5))
    inside = SeededNoise(5).uniform(*SHAPE).flatten(1).double()
    points = (images.flatten(1).double() + inside - 0.5) / 255
    for row, kind in enumerate(labels.tolist()):
        directions = model.directions[kind].double()
        variance = float((2 * model.log_noise[kind].double()).exp())
        covariance = (directions @ directions.T + variance * torch.eye(16)).numpy()
        gaussian = multivariate_normal(model.means[kind].double().numpy(), covariance)
        expected = gaussian.logpdf(points[row].numpy()) - 16 * math.log(255)
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)


def test_any_class_is_a_mixture_with_the_shares_of_the_training_images() -> None:
    images, labels = _images()
    kept = (labels == 0) | (torch.arange(600) < 200)  # 300 of class 0, 100 of class 1
    recipe = PPCARecipe(CONFIG)
    fit(recipe, lambda _: iter([(images[kept], labels[kept])]), epochs=1, seed=0)
    model = recipe.model
    assert model.shares.tolist() == pytest.approx([0.75, 0.25])
    drawn = model.sample(SeededNoise(4000)).flatten(1).mean(1)
    assert float((drawn > 0.5).double().mean()) == pytest.approx(0.25, abs=0.03)
    levels = (images[:4] * 255).round().to(torch.uint8)
    each = [
        model.log_likelihood(levels, torch.full((4,), kind), SeededNoise(4)) + math.log(share)
        for kind, share in enumerate((0.75, 0.25))
    ]
    mixed = model.log_likelihood(levels, None, SeededNoise(4))
    torch.testing.assert_close(mixed, torch.logaddexp(*each))


def test_samples_have_the_mean_and_the_spread_of_their_class() -> None:
    model = _fitted().model
    images, labels = _images()
    for kind in (0, 1):
        drawn = model.sample(SeededNoise(4000), torch.full((4000,), kind)).flatten(1)
        real = images.flatten(1)[labels == kind]
        assert drawn.mean(0).numpy() == pytest.approx(real.mean(0).numpy(), abs=0.01)
        assert float(drawn.var(0).sum()) == pytest.approx(
            float(real.var(0).sum() - 16 * (2 * model.log_noise[kind]).exp()), rel=0.1
        )


def test_too_few_images_are_an_error() -> None:
    images, labels = _images()
    with pytest.raises(ValueError, match="class 1 has 0 images; 3 components need more than 3"):
        fit(PPCARecipe(CONFIG), lambda _: iter([(images[::2], labels[::2])]), epochs=1, seed=0)
