"""A class-conditional diffusion model: a small U-Net that denoises, in few steps.

Images are scaled to [-1, 1]; noise of standard deviation sigma is added to them. The network is
preconditioned so that its inputs and targets have unit variance at any sigma.

Papers: Sohl-Dickstein et al. 2015, Ho et al. 2020 (diffusion, and ancestral sampling); Karras et
al. 2022 (preconditioning, the distribution of sigma in training, the steps); Lu et al. 2022
(DPM-Solver++(2M), both samplers); Ronneberger et al. 2015 (the U-Net); Ho and Salimans 2022
(guidance without a classifier); Kynkäänniemi et al. 2024 (guidance at middling noise only).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.labels import drop, or_any
from reference_models.noise import Noise
from reference_models.training import AveragedRecipe, cosine, optimize, set_learning_rate

FAMILY = "diffusion"
SIGMA_DATA = 0.5
SIGMA_LEAST, SIGMA_MOST = 0.002, 80.0
GUIDED_LEAST, GUIDED_MOST = 0.4, 6.0
"""Where guidance acts: above, it costs variety; below, the class is settled."""

Sampler = Literal["deterministic", "ancestral"]


@dataclass(frozen=True)
class Config:
    """The architecture. Height and width are multiples of 4."""

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    widths: tuple[int, int, int] = (32, 64, 96)
    embedding: int = 128


def load(path: str | Path) -> "Denoiser":
    """The model stored at ``path``, in eval mode."""
    model = Denoiser(read_config(path, FAMILY, Config))
    load_weights(path, model)
    return model.to(memory_format=torch.channels_last)  # convolutions of a CPU are faster so


class Denoiser(nn.Module):
    """What an image was before noise of a known sigma was added: its expectation."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.network = UNet(config)

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """The expected clean images, float32 [B, C, H, W], of noisy ones with sigma [B]."""
        sigma = sigma[:, None, None, None]
        total = (sigma.square() + SIGMA_DATA**2).sqrt()
        seen = self.network(noisy / total, sigma.flatten().log() / 4, labels).float()
        kept = SIGMA_DATA**2 / total.square()
        clean: Tensor = kept * noisy + (sigma * SIGMA_DATA / total) * seen
        return clean

    @torch.no_grad()
    def sample(
        self,
        noise: Noise,
        labels: Tensor | None = None,
        *,
        steps: int = 20,
        sampler: Sampler = "deterministic",
        guidance: float = 1.25,
    ) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1]; each depends on its own noise and label alone.

        Args:
            noise: gives the image to begin from in stream 0, and for the ancestral sampler what
                is added in step i in stream i; standard normal [B, C, H, W].
            labels: classes, int64 [B], or None for images of any class.
            steps: evaluations of the network; those that are guided count twice.
            sampler: "deterministic" follows the probability flow with DPM-Solver++(2M);
                "ancestral" draws from the posterior of each step, with the same extrapolation
                (SDE-DPM-Solver++(2M)), without which 20 steps lose much of the variance.
            guidance: above 1 moves steps at middling noise away from what "any class" would
                give; 1 does not.
        """
        sigmas = noise_levels(steps)
        start = noise.normal(*self.config.shape)
        guidance = 1.0 if labels is None else guidance
        labels = or_any(labels, len(start), self.config.classes, start.device)
        x = start * sigmas[0]
        before: Tensor | None = None
        for step in range(steps):
            now, then = sigmas[step], sigmas[step + 1]
            clean = self._guided(x, now, labels, guidance).clamp(-1, 1)
            ahead = clean
            if before is not None and then > 0:
                ratio = math.log(sigmas[step - 1] / now) / math.log(now / then)
                ahead = clean + (clean - before) / (2 * ratio)
            kept = (then / now) ** (2 if sampler == "ancestral" else 1)
            x = kept * x + (1 - kept) * ahead
            if sampler == "ancestral" and then > 0:
                fresh = noise.normal(*self.config.shape, stream=step + 1)
                x = x + then * math.sqrt(1 - kept) * fresh
            before = clean
        return (x.clamp(-1, 1) + 1) / 2

    def _guided(self, x: Tensor, sigma: float, labels: Tensor, guidance: float) -> Tensor:
        level = x.new_full((len(x),), sigma)
        clean: Tensor = self(x, level, labels)
        if guidance == 1 or not GUIDED_LEAST <= sigma <= GUIDED_MOST:
            return clean
        any_class = torch.full_like(labels, self.config.classes)
        without: Tensor = self(x, level, any_class)
        return without + guidance * (clean - without)


def noise_levels(steps: int) -> list[float]:
    """Sigma before each step and 0 after the last, as Karras et al. 2022 space them (rho = 7)."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; take at least 1")
    high, low = SIGMA_MOST ** (1 / 7), SIGMA_LEAST ** (1 / 7)
    span = max(1, steps - 1)
    return [*((high + step / span * (low - high)) ** 7 for step in range(steps)), 0.0]


class UNet(nn.Module):
    """Three resolutions, each half of the one before; attention at the lowest."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.shape[0]
        fine, middle, coarse = config.widths
        told = config.embedding
        self.label_embedding = nn.Embedding(config.classes + 1, told)
        self.level_embedding = nn.Sequential(
            nn.Linear(told, told), nn.SiLU(), nn.Linear(told, told)
        )
        self.enter = nn.Conv2d(channels, fine, 3, padding=1)
        self.down_fine = Block(fine, fine, told)
        self.to_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.down_middle = Block(middle, middle, told)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.down_coarse = Block(coarse, coarse, told)
        self.attention = Attention(coarse)
        self.up_coarse = Block(2 * coarse, coarse, told)
        self.from_coarse = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.up_middle = Block(2 * middle, middle, told)
        self.from_middle = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.up_fine = Block(2 * fine, fine, told)
        self.leave = nn.Sequential(nn.GroupNorm(8, fine), nn.SiLU(), _zeroed(fine, channels))
        frequencies = torch.exp(torch.linspace(0, math.log(200), told // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)

    frequencies: Tensor

    def forward(self, images: Tensor, level: Tensor, labels: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape, at noise levels [B] (a quarter of log sigma)."""
        angles = level[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        told = F.silu(self.level_embedding(waves) + self.label_embedding(labels))
        fine = self.down_fine(self.enter(images), told)
        middle = self.down_middle(self.to_middle(fine), told)
        coarse = self.to_coarse(middle)
        deep = self.attention(self.down_coarse(coarse, told))
        deep = self.up_coarse(torch.cat([deep, coarse], dim=1), told)
        middle = self.up_middle(torch.cat([self.from_coarse(deep), middle], dim=1), told)
        fine = self.up_fine(torch.cat([self.from_middle(middle), fine], dim=1), told)
        out: Tensor = self.leave(fine)
        return out


class Block(nn.Module):
    """Two convolutions around a shortcut; the embedding scales and shifts between them."""

    def __init__(self, width_in: int, width: int, told: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.GroupNorm(8, width_in), nn.SiLU(), nn.Conv2d(width_in, width, 3, padding=1)
        )
        self.modulation = nn.Linear(told, 2 * width)
        self.norm = nn.GroupNorm(8, width)
        self.leave = _zeroed(width, width)
        self.shortcut = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """[B, width_in, H, W] and an embedding [B, told] to [B, width, H, W]."""
        scale, shift = self.modulation(told)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.enter(x)) * (1 + scale) + shift
        out: Tensor = self.shortcut(x) + self.leave(F.silu(inner))
        return out


class Attention(nn.Module):
    """Every place looks at every other one, with heads of 32 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 32
        self.norm = nn.GroupNorm(8, width)
        self.inward = nn.Conv2d(width, 3 * width, 1)
        self.outward = _zeroed(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same shape."""
        grid = x.shape[2:]
        inward = self.inward(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = (part.transpose(2, 3) for part in inward.unbind(dim=1))
        seen = F.scaled_dot_product_attention(query, key, value)
        rows = seen.transpose(2, 3).flatten(1, 2)
        out: Tensor = x + self.outward(torch.unflatten(rows, 2, grid))
        return out


def _zeroed(width_in: int, width: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that begins as nothing, so that each block begins as its shortcut."""
    made = nn.Conv2d(width_in, width, kernel, padding=kernel // 2)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made


class DiffusionRecipe(AveragedRecipe):
    """Denoising at a random sigma for each image; what is kept is the moving average.

    Args:
        config: The architecture.
        label_dropout: Share of labels replaced by "any class".
        average_decay: Of the moving average of the weights.
        warm_up: Steps over which the learning rate rises from zero.
    """

    epochs = 14
    batch_size = 128
    validate_every = 5

    def __init__(
        self,
        config: Config,
        *,
        learning_rate: float = 1e-3,
        label_dropout: float = 0.1,
        average_decay: float = 0.999,
        warm_up: int = 200,
    ) -> None:
        super().__init__(Denoiser(config), average_decay)
        self.config = config
        self.learning_rate, self.label_dropout = learning_rate, label_dropout
        self.warm_up = warm_up
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.optimizers = [self.optimizer]
        self._share = 1.0

    def begin(self, epoch: int, epochs: int) -> None:
        """The learning rate falls along a half cosine."""
        self._share = cosine(epoch, epochs)

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step towards the expected clean image."""
        labels = drop(labels, self.label_dropout, self.config.classes)
        warm = min(1.0, (int(self.average.steps) + 1) / self.warm_up)
        set_learning_rate(self.optimizer, self.learning_rate * self._share * warm)
        clean = images * 2 - 1
        sigma = torch.exp(1.2 * torch.randn(len(images), device=images.device) - 1.2)
        noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
        with self.autocast():
            denoised = self.network(noisy, sigma, labels)
        weight = (sigma.square() + SIGMA_DATA**2) / (sigma * SIGMA_DATA).square()
        loss = (weight * (denoised - clean).square().mean(dim=(1, 2, 3))).mean()
        optimize(self.optimizer, loss, most=1.0)
        self.average.update(self.network)
        return {"loss": loss}
