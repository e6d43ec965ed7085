"""A class-conditional convolutional variational autoencoder.

The prior over codes is learned together with the rest, as a small normalising flow: codes drawn
from a fixed Gaussian would often fall where no training image was encoded, and decode to blends.
Pixels are 8-bit levels under discretised logistics, so the evidence lower bound is one of the
images themselves, in bits per dimension.

Papers: Kingma and Welling 2014, Rezende et al. 2014 (the VAE); Sohn et al. 2015 (conditioning on
the class); Higgins et al. 2017 (beta, the weight of the KL term); Chen et al. 2017 (a flow as the
prior); Dinh et al. 2017 (affine coupling layers); Kingma et al. 2016 (discretised logistics);
Burda et al. 2016 (the bound from several codes); Dai and Wipf 2019 (the prior learns once more);
Rybkin et al. 2021 (one learned scale).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.labels import drop, or_any
from reference_models.noise import Noise
from reference_models.pixel_distributions import logistic_log_prob, scaled
from reference_models.training import Recipe, cosine, optimize, set_learning_rate

FAMILY = "vae"


@dataclass(frozen=True)
class Config:
    """The architecture. Height and width are multiples of 4; ``latent_dim`` is even.

    With ``shared_scale`` all pixels of a channel have one scale of their logistics, not each its
    own: what a model of pictures with flat, exact backgrounds needs, whose likelihood would
    otherwise be won there alone.
    """

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    latent_dim: int = 32
    label_dim: int = 16
    width: int = 32
    hidden: int = 128
    couplings: int = 6
    coupling_hidden: int = 128
    shared_scale: bool = False


def load(path: str | Path) -> "VAE":
    """The model stored at ``path``, in eval mode."""
    model = VAE(read_config(path, FAMILY, Config))
    load_weights(path, model)
    return model


class VAE(nn.Module):
    """Encoder to a diagonal Gaussian, flow prior, and decoder to one logistic for each level.

    All three are told the label. The layers have no batch statistics, so an image's code and
    picture are its own alone.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, height, width_in = config.shape
        width, hidden = config.width, config.hidden
        grid = (2 * width, height // 4, width_in // 4)
        self.label_embedding = nn.Embedding(config.classes + 1, config.label_dim)
        self.prior = FlowPrior(config)
        self.encoder_convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.encoder_head = nn.Sequential(
            nn.Linear(math.prod(grid) + config.label_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * config.latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_dim + config.label_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, math.prod(grid)),
            nn.SiLU(),
            nn.Unflatten(1, grid),
            nn.ConvTranspose2d(2 * width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels if config.shared_scale else 2 * channels, 3, padding=1),
        )
        if config.shared_scale:
            self.log_scales = nn.Parameter(torch.zeros(channels, 1, 1))

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance [B, latent_dim] of q(code | image in [-1, 1], label)."""
        told = torch.cat([self.encoder_convolutions(images), self.label_embedding(labels)], dim=1)
        mean, log_variance = self.encoder_head(told).chunk(2, dim=1)
        return mean.float(), log_variance.float()

    def decode(self, codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Means (in [-1, 1] or beyond) and log scales of p(image | code, label).

        Both are [B, C, H, W], but shared log scales [C, 1, 1].
        """
        out = self.decoder(torch.cat([codes, self.label_embedding(labels)], dim=1)).float()
        means, log_scales = (
            (out, self.log_scales) if self.config.shared_scale else out.chunk(2, dim=1)
        )
        return means, log_scales - 2  # where training begins: blurred, not flat

    @torch.no_grad()
    def sample(self, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1]; each depends on its own noise and label alone.

        The picture is the *median* of each pixel's distribution: drawing pixels independently
        would add noise that no image has.

        Args:
            noise: gives z, standard normal [B, ``config.latent_dim``], which the prior's flow
                turns into codes.
            labels: classes, int64 [B], or None for images of any class.
        """
        z = noise.normal(self.config.latent_dim)
        labels = or_any(labels, len(z), self.config.classes, z.device)
        codes = self.prior.codes_from_noise(z, self.label_embedding(labels))
        return ((self.decode(codes, labels)[0].clamp(-1, 1) + 1) / 2).contiguous()

    def negative_elbo(
        self, levels: Tensor, labels: Tensor, noise: Tensor, beta: float = 1.0
    ) -> Tensor:
        """Nats per image, float32 [B]: reconstruction plus ``beta`` times the KL term.

        Args:
            levels: uint8 [B, C, H, W].
            noise: standard normal [B, latent_dim], which draws the one code of each image.
        """
        values = scaled(levels)
        mean, log_variance = self.encode(values, labels)
        codes = mean + torch.exp(0.5 * log_variance) * noise
        means, log_scales = self.decode(codes, labels)
        reconstruction = -logistic_log_prob(values, means, log_scales).sum(dim=(1, 2, 3))
        posterior = _standard_normal_log_density(noise) - 0.5 * log_variance.sum(dim=1)
        prior = self.prior.log_density(codes, self.label_embedding(labels))
        return reconstruction + beta * (posterior - prior)

    def prior_loss(self, levels: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """Nats of each image's code under the prior, float32 [B]; only the prior gets gradients.

        Arguments are those of ``negative_elbo``.
        """
        with torch.no_grad():
            mean, log_variance = self.encode(scaled(levels), labels)
            codes = mean + torch.exp(0.5 * log_variance) * noise
            told = self.label_embedding(labels)
        return -self.prior.log_density(codes, told)

    @torch.no_grad()
    def log_likelihood(
        self, images: Tensor, labels: Tensor | None, noise: Noise, codes: int = 16
    ) -> Tensor:
        """A lower bound of log p(image), nats, float64 [B], of uint8 images [B, C, H, W].

        The importance-weighted bound of Burda et al. 2016 from so many ``codes``; more codes
        bring it closer.
        """
        labels = or_any(labels, len(images), self.config.classes, images.device)
        draws = noise.normal(codes, self.config.latent_dim)
        found = [-self.negative_elbo(images, labels, z).double() for z in draws.unbind(dim=1)]
        return torch.logsumexp(torch.stack(found), dim=0) - math.log(codes)


class FlowPrior(nn.Module):
    """An invertible map between codes and standard normal noise, given the label.

    Each coupling shifts and scales one half of the vector by what the other half says, and swaps
    the halves.
    """

    def __init__(self, config: Config) -> None:
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


class VAERecipe(Recipe):
    """The evidence lower bound with its KL term times ``beta``; Adam along a half cosine.

    Args:
        config: The architecture.
        beta: Weight of the KL term; 1 maximises the likelihood.
        label_dropout: Share of labels replaced by "any class".
        prior_share: Share of the epochs, the last ones, in which the prior alone learns, on the
            codes of an encoder that no longer moves (Dai and Wipf 2019).
    """

    epochs = 20
    batch_size = 128
    validate_every = 2

    def __init__(
        self,
        config: Config,
        *,
        beta: float = 1.0,
        learning_rate: float = 1e-3,
        label_dropout: float = 0.1,
        prior_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.model: VAE = VAE(config)
        self.beta, self.label_dropout, self.learning_rate = beta, label_dropout, learning_rate
        self.prior_share = prior_share
        self._prior_alone = False
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self.optimizers = [self.optimizer]

    def begin(self, epoch: int, epochs: int) -> None:
        """The learning rate falls along a half cosine, for all and then for the prior."""
        border = epochs - round(self.prior_share * epochs)
        self._prior_alone = epoch >= border
        done = (epoch - border, epochs - border) if self._prior_alone else (epoch, border)
        set_learning_rate(self.optimizer, self.learning_rate * cosine(*done))

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step up the bound; reports it in bits per dimension."""
        labels = drop(labels, self.label_dropout, self.model.config.classes)
        levels = (images * 255).round().to(torch.uint8)
        noise = torch.randn(len(images), self.model.config.latent_dim, device=images.device)
        if self._prior_alone:
            with self.autocast():
                loss = self.model.prior_loss(levels, labels, noise).mean()
            optimize(self.optimizer, loss, most=100.0)
            return {"nats of the code": loss}
        with self.autocast():
            loss = self.model.negative_elbo(levels, labels, noise, self.beta).mean()
        optimize(self.optimizer, loss, most=100.0)
        return {"bits/dim": loss / (math.prod(self.model.config.shape) * math.log(2))}


def _shift_and_log_scale(
    coupling: nn.Module, kept: Tensor, label_code: Tensor
) -> tuple[Tensor, Tensor]:
    shift, log_scale = coupling(torch.cat([kept, label_code], dim=1)).float().chunk(2, dim=1)
    # Bounded, so that no coupling can blow a vector up.
    return shift, 1.5 * torch.tanh(log_scale / 1.5)


def _standard_normal_log_density(vectors: Tensor) -> Tensor:
    return -0.5 * (vectors.square() + math.log(2 * math.pi)).sum(dim=1)
