"""A class-conditional generative adversarial network of DCGAN's shape.

Papers: Goodfellow et al. 2014 (the game); Radford et al. 2016 (DCGAN); Lim and Ye 2017 (the hinge
loss); Miyato et al. 2018 (spectral normalisation); Miyato and Koyama 2018 (the projection
discriminator); Heusel et al. 2017 (two learning rates); Yazıcı et al. 2019 (the moving average of
the generator); Salimans et al. 2016 and Karras et al. 2018 (the discriminator is told how images
differ); Odena et al. 2017 (it may name classes, too).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reference_models.checkpoint import load_weights, read_config
from reference_models.labels import drop, or_any
from reference_models.noise import Noise
from reference_models.training import AveragedRecipe, optimize, set_learning_rate

FAMILY = "gan"


@dataclass(frozen=True)
class Config:
    """The architecture. Height and width are multiples of 2 to the power of ``doublings``."""

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    latent_dim: int = 64
    label_dim: int = 32
    doublings: int = 2
    generator_width: int = 40
    discriminator_width: int = 40

    def __post_init__(self) -> None:
        """Raise ValueError where the grid that is doubled would not be whole."""
        step = 1 << self.doublings
        if self.shape[1] % step or self.shape[2] % step:
            raise ValueError(
                f"doublings = {self.doublings} makes sides that are multiples of {step}; the "
                f"images are {self.shape[1]} × {self.shape[2]}"
            )


def load(path: str | Path) -> "Generator":
    """The generator stored at ``path``, in eval mode."""
    generator = Generator(read_config(path, FAMILY, Config))
    load_weights(path, generator)
    return generator


class Generator(nn.Module):
    """Noise and a label to a small grid, whose size transposed convolutions double."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, high, wide = config.shape
        widths = [config.generator_width << level for level in range(config.doublings, -1, -1)]
        grid = (widths[0], high >> config.doublings, wide >> config.doublings)
        self.label_embedding = nn.Embedding(config.classes + 1, config.label_dim)
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim + config.label_dim, math.prod(grid), bias=False),
            nn.Unflatten(1, grid),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        for width_in, width in pairwise(widths):
            self.layers.append(
                nn.ConvTranspose2d(width_in, width, 4, stride=2, padding=1, bias=False)
            )
            self.layers.append(nn.BatchNorm2d(width))
            self.layers.append(nn.ReLU())
        self.layers.append(nn.Conv2d(widths[-1], channels, 3, padding=1))
        self.layers.append(nn.Sigmoid())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1] from z [B, latent_dim] and labels int64 [B]."""
        images: Tensor = self.layers(torch.cat([z, self.label_embedding(labels)], dim=1))
        return images.float()

    @torch.no_grad()
    def sample(self, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1]; each depends on its own noise and label alone.

        Args:
            noise: gives z, standard normal [B, ``config.latent_dim``].
            labels: classes, int64 [B], or None for images of any class.

        Raises:
            RuntimeError: in training mode, where batch statistics would mix the images.
        """
        if self.training:
            raise RuntimeError("the generator samples in eval mode only: call eval() first")
        z = noise.normal(self.config.latent_dim)
        return self.forward(z, or_any(labels, len(z), self.config.classes, z.device))


class Discriminator(nn.Module):
    """An image and a label to a realness score; spectrally normalised throughout.

    Args:
        config: The architecture.
        spread: Whether images are judged also by how the features of those of one class differ
            within the batch, so that a generator of few images a class is found out.
        names_classes: Whether it also says which class an image is of.
    """

    def __init__(
        self, config: Config, *, spread: bool = False, names_classes: bool = False
    ) -> None:
        super().__init__()
        self.spread = spread
        channels, high, wide = config.shape
        width = config.discriminator_width
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(4 * width, 6 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
        )
        features = 6 * width * (high // 8) * (wide // 8)
        self.score = spectral_norm(nn.Linear(features * (2 if spread else 1), 1))
        self.label_directions = spectral_norm(nn.Embedding(config.classes + 1, features))
        self.class_of = nn.Linear(features, config.classes) if names_classes else None

    def forward(
        self, images: Tensor, labels: Tensor, parts: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        """Scores float32 [B], higher for what looks real, of images [B, C, H, W] in [0, 1].

        Beside them the logits [B, classes] of the class, where it names classes.

        Args:
            images: of ``parts`` equal parts, each all real or all made.
            labels: classes, int64 [B].
            parts: as many; how images differ is seen within each.
        """
        features = self.layers(images * 2 - 1)
        logits = None if self.class_of is None else self.class_of(features).float()
        projection = (features * self.label_directions(labels)).sum(dim=1)
        if self.spread:
            each = zip(features.chunk(parts), labels.chunk(parts), strict=True)
            spread = torch.cat([deviation_in_class(*part) for part in each])
            features = torch.cat([features, spread.to(features.dtype)], dim=1)
        scores: Tensor = self.score(features)[:, 0] + projection
        return scores.float(), logits


def deviation_in_class(features: Tensor, labels: Tensor) -> Tensor:
    """The standard deviation of each feature among the rows of one's label, float32 [B, D].

    A label with a single row gets 0.01, where the root is steep enough.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        same = (labels[:, None] == labels).float()
        same = same / same.sum(dim=1, keepdim=True)
        variance = same @ (features - same @ features).square()
        return (variance + 1e-4).sqrt()


class GANRecipe(AveragedRecipe):
    """One discriminator step and one generator step a batch; what is kept is the moving average.

    Learning rates stay until half of the epochs, then fall to zero in a straight line.

    Args:
        config: The architecture.
        label_dropout: Share of labels replaced by "any class", in the real and the made images.
        spread: Whether the discriminator sees how the images of a class differ.
        class_weight: Of the cross-entropy of the class, in both losses: the discriminator learns
            to name the class of real images, the generator to make images that it names rightly.
        average_decay: Of the moving average of the generator.
    """

    epochs = 16
    batch_size = 64
    validate_every = 2

    def __init__(
        self,
        config: Config,
        *,
        generator_learning_rate: float = 3e-4,
        discriminator_learning_rate: float = 3e-4,
        label_dropout: float = 0.1,
        spread: bool = False,
        class_weight: float = 0.0,
        average_decay: float = 0.999,
    ) -> None:
        super().__init__(Generator(config), average_decay)
        self.config = config
        self.discriminator = Discriminator(
            config, spread=spread, names_classes=class_weight > 0 and config.classes > 0
        )
        self.class_weight = class_weight
        self.label_dropout = label_dropout
        self.learning_rates = (discriminator_learning_rate, generator_learning_rate)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.99))
            for network, rate in zip(
                (self.discriminator, self.network), self.learning_rates, strict=True
            )
        ]

    def begin(self, epoch: int, epochs: int) -> None:
        """Set the learning rates of this epoch."""
        remaining = min(1.0, 2 * (1 - epoch / epochs))
        for optimizer, rate in zip(self.optimizers, self.learning_rates, strict=True):
            set_learning_rate(optimizer, remaining * rate)

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Play one round."""
        labels = drop(labels, self.label_dropout, self.config.classes)
        discriminator, generator = self.optimizers
        with self.autocast():
            with torch.no_grad():
                fakes = self.network(self._noise(images), labels)
            both, told = torch.cat([images, fakes]), torch.cat([labels, labels])
            scores, logits = self.discriminator(both, told, parts=2)
            real, fake = scores.chunk(2)
            discriminator_loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
            if logits is not None:
                discriminator_loss += self._misnamed(logits[: len(images)], labels)
        optimize(discriminator, discriminator_loss)
        # The generator's loss leaves gradients in the discriminator too: its next step clears them.
        with self.autocast():
            fakes = self.network(self._noise(images), labels)
            scores, logits = self.discriminator(fakes, labels)
            generator_loss = -scores.mean()
            if logits is not None:
                generator_loss += self._misnamed(logits, labels)
        optimize(generator, generator_loss)
        self.average.update(self.network)
        return {"discriminator": discriminator_loss, "generator": generator_loss}

    def _misnamed(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the classes, those of "any class" left out, as it counts in a loss."""
        nats = F.cross_entropy(logits, labels, ignore_index=self.config.classes, reduction="sum")
        return self.class_weight * nats / len(labels)

    def _noise(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), self.config.latent_dim, device=images.device)
