"""A class-conditional generative adversarial network of DCGAN's shape for 28x28 grey images.

Papers: Goodfellow et al. 2014 (the game); Radford et al. 2016 (DCGAN); Lim and Ye 2017 (the hinge
loss); Miyato et al. 2018 (spectral normalisation); Miyato and Koyama 2018 (the projection
discriminator); Heusel et al. 2017 (two learning rates); Yazıcı et al. 2019 (the moving average of
the generator).
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reference_models.checkpoint import load_weights, read_config
from reference_models.data import EpochBatches

FAMILY = "gan"

# What the shipped weights were trained with.
EPOCHS = 10
BATCH_SIZE = 64


@dataclass(frozen=True)
class GANConfig:
    """The architecture. The label ``classes``, one past the last, stands for "any class"."""

    latent_dim: int = 64
    label_dim: int = 32
    generator_width: int = 32
    discriminator_width: int = 32
    classes: int = 10


def load(path: str | Path) -> "Generator":
    """The generator stored at ``path``, in eval mode."""
    generator = Generator(read_config(path, FAMILY, GANConfig))
    load_weights(path, generator)
    return generator


class Generator(nn.Module):
    """Noise and a label to an image: 7x7, 14x14, 28x28 by transposed convolutions."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        width = config.generator_width
        self.label_embedding = nn.Embedding(config.classes + 1, config.label_dim)
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim + config.label_dim, 4 * width * 7 * 7, bias=False),
            nn.Unflatten(1, (4 * width, 7, 7)),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images float32 [B, 1, 28, 28] in [0, 1] from z [B, latent_dim] and labels int64 [B]."""
        images: Tensor = self.layers(torch.cat([z, self.label_embedding(labels)], dim=1))
        return images.float()

    @torch.no_grad()
    def sample(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images float32 [B, 1, 28, 28] in [0, 1]; each depends on its own noise and label alone.

        Args:
            z: standard normal noise, float32 [B, ``config.latent_dim``].
            labels: classes, int64 [B] in 0..9, or None for images of any class.

        Raises:
            RuntimeError: in training mode, where batch statistics would mix the images.
        """
        if self.training:
            raise RuntimeError("the generator samples in eval mode only: call eval() first")
        if labels is None:
            labels = torch.full((len(z),), self.config.classes, device=z.device)
        return self.forward(z, labels)


class Discriminator(nn.Module):
    """An image and a label to a realness score; spectrally normalised throughout."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        width = config.discriminator_width
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(1, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(4 * width, 6 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
        )
        features = 6 * width * 3 * 3
        self.score = spectral_norm(nn.Linear(features, 1))
        self.label_directions = spectral_norm(nn.Embedding(config.classes + 1, features))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores float32 [B], higher for what looks real, of images [B, 1, 28, 28] in [0, 1]."""
        features = self.layers(2 * images - 1)
        projection = (features * self.label_directions(labels)).sum(dim=1)
        scores: Tensor = self.score(features).squeeze(1) + projection
        return scores.float()


def train_gan(
    data: EpochBatches,
    *,
    config: GANConfig | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    validate: Callable[[Generator], float] | None = None,
    generator_learning_rate: float = 3e-4,
    discriminator_learning_rate: float = 3e-4,
    label_dropout: float = 0.2,
    average_decay: float = 0.999,
    precision: torch.dtype = torch.bfloat16,
    device: str | torch.device = "cpu",
) -> Generator:
    """The moving average of a generator trained with the hinge loss, in eval mode.

    Learning rates fall linearly to zero over the second half of the epochs, so the last state is
    the one to keep and ``validate`` only reports.

    Args:
        data: ``data(epoch)`` yields images float32 [B, 1, 28, 28] in [0, 1] and labels int64 [B].
        validate: called with the averaged generator in eval mode after each epoch; its number
            is printed.
        label_dropout: the share of labels replaced by "any class", which makes unconditional
            sampling possible.
        precision: what convolutions compute in (weights stay float32); bfloat16 halves the time.
    """
    config = config or GANConfig()
    device = torch.device(device)
    autocast = torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(config).to(device).train()
        discriminator = Discriminator(config).to(device).train()
        averaged = copy.deepcopy(generator).eval()
        generator_optimizer = torch.optim.Adam(
            generator.parameters(), lr=generator_learning_rate, betas=(0.5, 0.99)
        )
        discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=discriminator_learning_rate, betas=(0.5, 0.99)
        )
        step = 0
        for epoch in range(epochs):
            started = time.perf_counter()
            discriminator_losses, generator_losses = [], []
            for batch, (images, labels) in enumerate(data(epoch)):
                if batch == 0:
                    remaining = min(1.0, 2 * (1 - epoch / epochs))
                    _set_learning_rate(generator_optimizer, remaining * generator_learning_rate)
                    _set_learning_rate(
                        discriminator_optimizer, remaining * discriminator_learning_rate
                    )
                images = images.to(device)
                labels = _drop_labels(labels.to(device), label_dropout, config.classes)

                z = torch.randn(len(images), config.latent_dim, device=device)
                with autocast:
                    with torch.no_grad():
                        fakes = generator(z, labels)
                    loss = _discriminator_loss(discriminator, images, fakes, labels)
                _step(discriminator_optimizer, loss)
                discriminator_losses.append(loss.item())

                z = torch.randn(len(images), config.latent_dim, device=device)
                with autocast:
                    loss = -discriminator(generator(z, labels), labels).mean()
                _step(generator_optimizer, loss)
                generator_losses.append(loss.item())

                step += 1
                _update_average(averaged, generator, min(average_decay, step / (step + 10)))
            report = f"D {_mean(discriminator_losses):.3f}  G {_mean(generator_losses):.3f}"
            if validate is not None:
                report += f"  validation {validate(averaged):.4f}"
            seconds = time.perf_counter() - started
            print(f"epoch {epoch + 1}/{epochs}  {report}  {seconds:.0f} s", flush=True)
    return averaged


def _discriminator_loss(
    discriminator: Discriminator, images: Tensor, fakes: Tensor, labels: Tensor
) -> Tensor:
    scores = discriminator(torch.cat([images, fakes]), torch.cat([labels, labels]))
    real, fake = scores.chunk(2)
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _drop_labels(labels: Tensor, share: float, null_label: int) -> Tensor:
    dropped = torch.rand(labels.shape, device=labels.device) < share
    return labels.masked_fill(dropped, null_label)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    # The generator's loss also leaves gradients in the discriminator: cleared before its next use.
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()


def _set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


@torch.no_grad()
def _update_average(averaged: nn.Module, current: nn.Module, decay: float) -> None:
    source = current.state_dict()
    for name, tensor in averaged.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(source[name], 1 - decay)


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
