"""A class-conditional convolutional variational autoencoder for 28x28 grey images.

The prior over codes is learned together with the rest, as a small normalising flow: codes drawn
from a fixed Gaussian would often fall where no training image was encoded, and decode to blends
of digits.

Papers: Kingma and Welling 2014, Rezende et al. 2014 (the VAE); Sohn et al. 2015 (conditioning on
the class); Higgins et al. 2017 (beta, the weight of the KL term); Chen et al. 2017 (a flow as the
prior); Dinh et al. 2017 (affine coupling layers).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.data import EpochBatches, LabelledImages

FAMILY = "vae"

# What the shipped weights were trained with.
EPOCHS = 10
BATCH_SIZE = 128
BETA = 0.5


@dataclass(frozen=True)
class VAEConfig:
    """The architecture; ``latent_dim`` is even.

    The label ``classes``, one past the last, stands for "any class".
    """

    latent_dim: int = 16
    label_dim: int = 16
    width: int = 32
    hidden: int = 256
    couplings: int = 6
    coupling_hidden: int = 128
    classes: int = 10


def load(path: str | Path) -> "VAE":
    """The model stored at ``path``, in eval mode."""
    model = VAE(read_config(path, FAMILY, VAEConfig))
    load_weights(path, model)
    return model


class VAE(nn.Module):
    """Encoder to a diagonal Gaussian, flow prior, and decoder to one Bernoulli logit a pixel.

    All three are told the label. The layers have no batch statistics, so an image's code and
    picture are its own alone.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.width, config.hidden
        self.label_embedding = nn.Embedding(config.classes + 1, config.label_dim)
        self.prior = FlowPrior(config)
        self.encoder_convolutions = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.encoder_head = nn.Sequential(
            nn.Linear(2 * width * 7 * 7 + config.label_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * config.latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_dim + config.label_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * width * 7 * 7),
            nn.SiLU(),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance [B, latent_dim] of q(code | image, label)."""
        told = torch.cat([self.encoder_convolutions(images), self.label_embedding(labels)], dim=1)
        mean, log_variance = self.encoder_head(told).chunk(2, dim=1)
        return mean.float(), log_variance.float()

    def decode(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Bernoulli logits [B, 1, 28, 28] of p(image | code, label)."""
        logits: Tensor = self.decoder(torch.cat([codes, self.label_embedding(labels)], dim=1))
        return logits.float()

    @torch.no_grad()
    def sample(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images float32 [B, 1, 28, 28] in [0, 1]; each depends on its own noise and label alone.

        The picture is the *mean* of the decoder's pixel distribution, as is usual: drawing each
        pixel independently would add noise that no digit has.

        Args:
            z: standard normal noise, float32 [B, ``config.latent_dim``], which the prior's flow
                turns into codes.
            labels: classes, int64 [B] in 0..9, or None for images of any class.
        """
        if labels is None:
            labels = torch.full((len(z),), self.config.classes, device=z.device)
        codes = self.prior.codes_from_noise(z, self.label_embedding(labels))
        return torch.sigmoid(self.decode(codes, labels))


class FlowPrior(nn.Module):
    """An invertible map between codes and standard normal noise, given the label.

    Each coupling shifts and scales one half of the vector by what the other half says, and swaps
    the halves.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        half = config.latent_dim // 2
        self.couplings = nn.ModuleList(
            nn.Sequential(
                nn.Linear(half + config.label_dim, config.coupling_hidden),
                nn.SiLU(),
                nn.Linear(config.coupling_hidden, config.coupling_hidden),
                nn.SiLU(),
                nn.Linear(config.coupling_hidden, 2 * half),
            )
            for _ in range(config.couplings)
        )

    def log_density(self, codes: Tensor, label_code: Tensor) -> Tensor:
        """Log p(code | label), float32 [B]."""
        vector, log_determinant = codes, codes.new_zeros(len(codes))
        for coupling in self.couplings:
            kept, moved = vector.chunk(2, dim=1)
            shift, log_scale = _shift_and_log_scale(coupling, kept, label_code)
            vector = torch.cat([(moved - shift) * torch.exp(-log_scale), kept], dim=1)
            log_determinant = log_determinant - log_scale.sum(dim=1)
        return _standard_normal_log_density(vector) + log_determinant

    def codes_from_noise(self, z: Tensor, label_code: Tensor) -> Tensor:
        """Codes [B, latent_dim] distributed as the prior where ``z`` is standard normal."""
        vector = z
        for coupling in reversed(self.couplings):
            moved, kept = vector.chunk(2, dim=1)
            shift, log_scale = _shift_and_log_scale(coupling, kept, label_code)
            vector = torch.cat([kept, moved * torch.exp(log_scale) + shift], dim=1)
        return vector


def train_vae(
    data: EpochBatches,
    *,
    config: VAEConfig | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    beta: float = BETA,
    validate: Callable[[VAE], float] | None = None,
    learning_rate: float = 1e-3,
    label_dropout: float = 0.2,
    precision: torch.dtype = torch.bfloat16,
    device: str | torch.device = "cpu",
) -> VAE:
    """A VAE trained on the evidence lower bound with its KL term times ``beta``, in eval mode.

    The learning rate falls to zero along a half cosine, so the last state is the one to keep and
    ``validate`` only reports.

    Args:
        data: ``data(epoch)`` yields images float32 [B, 1, 28, 28] in [0, 1] and labels int64 [B].
        validate: called with the model in eval mode after each epoch; its number is printed.
        label_dropout: the share of labels replaced by "any class", which makes unconditional
            sampling possible.
        precision: what convolutions compute in (weights stay float32); bfloat16 saves time.
    """
    config = config or VAEConfig()
    device = torch.device(device)
    autocast = torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VAE(config).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        for epoch in range(epochs):
            started, losses = time.perf_counter(), []
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            model.train()
            for images, labels in data(epoch):
                images, labels = images.to(device), labels.to(device)
                dropped = torch.rand(labels.shape, device=labels.device) < label_dropout
                labels = labels.masked_fill(dropped, config.classes)
                with autocast:
                    loss = negative_elbo(model, images, labels, beta=beta).mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                losses.append(loss.item())
            model.eval()
            report = f"loss {sum(losses) / max(1, len(losses)):.2f}"
            if validate is not None:
                report += f"  validation {validate(model):.2f}"
            seconds = time.perf_counter() - started
            print(f"epoch {epoch + 1}/{epochs}  {report}  {seconds:.0f} s", flush=True)
    return model.eval()


def negative_elbo(model: VAE, images: Tensor, labels: Tensor, *, beta: float = 1.0) -> Tensor:
    """Nats per image, float32 [B]: Bernoulli cross-entropy plus ``beta`` times the KL term.

    One code is drawn per image, from the global random state; the KL term is estimated with it.
    Grey pixels in [0, 1] count as the probabilities of a binary pixel, as is usual for MNIST.
    """
    mean, log_variance = model.encode(images, labels)
    noise = torch.randn_like(mean)
    codes = mean + torch.exp(0.5 * log_variance) * noise
    logits = model.decode(codes, labels)
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
    posterior = _standard_normal_log_density(noise) - 0.5 * log_variance.sum(dim=1)
    prior = model.prior.log_density(codes, model.label_embedding(labels))
    return reconstruction.sum(dim=(1, 2, 3)) + beta * (posterior - prior)


@torch.no_grad()
def mean_negative_elbo(model: VAE, data: LabelledImages, *, seed: int = 0) -> float:
    """The mean of :func:`negative_elbo` at beta 1 over ``data``; its codes follow from ``seed``."""
    total = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(data), 500):
            part = data.part(start, start + 500)
            total += float(negative_elbo(model, part.as_float(), part.labels).sum())
    return total / len(data)


def _shift_and_log_scale(
    coupling: nn.Module, kept: Tensor, label_code: Tensor
) -> tuple[Tensor, Tensor]:
    shift, log_scale = coupling(torch.cat([kept, label_code], dim=1)).chunk(2, dim=1)
    # Bounded, so that no coupling can blow a vector up.
    return shift, 1.5 * torch.tanh(log_scale / 1.5)


def _standard_normal_log_density(vectors: Tensor) -> Tensor:
    return -0.5 * (vectors.square() + math.log(2 * math.pi)).sum(dim=1)
