"""Probabilistic principal component analysis of each class: the honest floor among the models.

An image is a mean, plus a combination of principal directions with normal weights, plus the same
normal noise in every pixel. Each class has its own; an image of any class is one of a class drawn
with the shares of the training images.

Papers: Tipping and Bishop 1999, "Probabilistic principal component analysis", whose closed-form
maximum of the likelihood is what training computes, and "Mixtures of probabilistic principal
component analysers".
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.noise import Noise
from reference_models.training import Recipe

FAMILY = "ppca"


@dataclass(frozen=True)
class Config:
    """``components`` directions for each of ``classes`` classes, or for all images where 0."""

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    components: int = 32


def load(path: str | Path) -> "PPCA":
    """The model stored at ``path``, in eval mode."""
    model = PPCA(read_config(path, FAMILY, Config))
    load_weights(path, model)
    return model


class PPCA(nn.Module):
    """Share, mean, scaled directions, and the noise's logarithm, of each class."""

    shares: Tensor
    means: Tensor
    directions: Tensor
    log_noise: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        kinds, pixels = max(1, config.classes), math.prod(config.shape)
        self.register_buffer("shares", torch.ones(kinds) / kinds)
        self.register_buffer("means", torch.zeros(kinds, pixels))
        self.register_buffer("directions", torch.zeros(kinds, pixels, config.components))
        self.register_buffer("log_noise", torch.zeros(kinds))

    @torch.no_grad()
    def sample(self, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1], cut off where the model leaves that range.

        The picture is the mean of the pixels' distribution given the weights of the directions:
        the noise that the model adds to every pixel would only cover it.

        Args:
            noise: gives the weights, standard normal [B, ``config.components``], and without
                labels one uniform number for each image, which draws its class.
            labels: classes, int64 [B], or None for images of any class.
        """
        weights = noise.normal(self.config.components)
        kind = self._drawn(noise) if labels is None else labels.to(weights.device)
        images = weights.new_empty(len(weights), math.prod(self.config.shape))
        for one in torch.unique(kind).tolist():  # at most one product for each class
            rows = kind == one
            images[rows] = self.means[one] + weights[rows] @ self.directions[one].T
        return torch.unflatten(images.clamp(0, 1), 1, self.config.shape)

    @torch.no_grad()
    def log_likelihood(self, images: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """A lower bound of log p(image), nats, float64 [B], of uint8 images [B, C, H, W].

        The density at an image with uniform noise of one level added: in expectation a bound of
        the mass that the model gives the image (Theis et al. 2016, section 3.1).
        """
        inside = noise.uniform(*self.config.shape).flatten(1).double()
        points = (images.flatten(1).to(inside.device).double() + inside - 0.5) / 255
        found = points.new_full((len(points), len(self.means)), -math.inf)
        for one in range(len(self.means)):
            rows = (
                torch.ones_like(found[:, 0], dtype=torch.bool) if labels is None else labels == one
            )
            found[rows, one] = self._log_density(points[rows], one)
        if labels is None:
            found += self.shares.double().log()
        return found.logsumexp(dim=1) - points.shape[1] * math.log(255)

    def _drawn(self, noise: Noise) -> Tensor:
        """A class for each image, with the shares of the training images."""
        passed = (self.shares.cumsum(0) <= noise.uniform(1)).sum(dim=1)
        return passed.clamp_max(len(self.shares) - 1)

    def _log_density(self, points: Tensor, kind: int) -> Tensor:
        """Of N(mean, W Wᵀ + σ² I) at float64 points [B, D], through the matrix inversion lemma."""
        directions, variance = self.directions[kind].double(), (2 * self.log_noise[kind]).exp()
        variance = variance.double()
        size, components = directions.shape
        inner = directions.T @ directions / variance
        inner += torch.eye(components, dtype=inner.dtype, device=inner.device)
        factor = torch.linalg.cholesky(inner)
        apart = points - self.means[kind].double()
        along = torch.linalg.solve_triangular(factor, directions.T @ apart.T, upper=False)
        distance = (apart.square().sum(1) - along.square().sum(0) / variance) / variance
        log_determinant = size * variance.log() + 2 * factor.diagonal().log().sum()
        density: Tensor = -0.5 * (distance + log_determinant + size * math.log(2 * math.pi))
        return density


class PPCARecipe(Recipe):
    """One pass adds up the moments of each class; the solution is in closed form."""

    epochs = 1
    batch_size = 500
    counts: Tensor
    sums: Tensor
    products: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model: PPCA = PPCA(config)
        kinds, pixels = self.model.means.shape
        for name, size in (
            ("counts", (kinds,)),
            ("sums", (kinds, pixels)),
            ("products", (kinds, pixels, pixels)),
        ):  # of one pass: no checkpoint needs them
            empty = torch.zeros(size, dtype=torch.float64)
            self.register_buffer(name, empty, persistent=False)

    def begin(self, epoch: int, epochs: int) -> None:
        """Forget what another pass had added up."""
        for total in (self.counts, self.sums, self.products):
            total.zero_()

    @torch.no_grad()
    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Add a batch, with noise of one level as the likelihood has it, to its classes."""
        inside = torch.rand_like(images)
        points = images.flatten(1).double() + (inside.flatten(1).double() - 0.5) / 255
        for kind in torch.unique(labels).tolist():
            rows = points[labels == kind]
            self.counts[kind] += len(rows)
            self.sums[kind] += rows.sum(0)
            self.products[kind] += rows.T @ rows
        return {}

    @torch.no_grad()
    def end(self) -> None:
        """Solve for each class."""
        self.model.shares.copy_(self.counts / self.counts.sum())
        for kind in range(len(self.counts)):
            self._solve(kind)

    def _solve(self, kind: int) -> None:
        components = self.model.config.components
        if self.counts[kind] <= components:
            raise ValueError(
                f"class {kind} has {int(self.counts[kind])} images; {components} components need "
                f"more than {components}: set components lower"
            )
        mean = self.sums[kind] / self.counts[kind]
        covariance = self.products[kind] / self.counts[kind] - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        variance = values[:-components].mean().clamp_min(1e-12)
        kept, spread = vectors[:, -components:], values[-components:] - variance
        self.model.means[kind] = mean.float()
        self.model.directions[kind] = (kept * spread.clamp_min(0).sqrt()).float()
        self.model.log_noise[kind] = 0.5 * variance.log().float()
