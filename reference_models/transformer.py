"""A class-conditional transformer over the tokens of a vector-quantised autoencoder.

An autoencoder turns an image into a small grid of tokens from a codebook; a causal transformer
learns what grids there are, given the class, and writes new ones token by token. It keeps keys
and values of the tokens before, so a step costs a step.

Papers: van den Oord et al. 2017 (VQ-VAE, and its moving-average codebook); Vaswani et al. 2017
(the transformer); Xiong et al. 2020 (normalisation before each layer); Esser et al. 2021 (a
transformer over a codebook).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.labels import drop, or_any
from reference_models.noise import Noise
from reference_models.training import Average, Recipe, cosine, optimize, set_learning_rate

FAMILY = "transformer"

KeysAndValues = tuple[Tensor, Tensor]
"""Of all tokens so far in one layer: two of [B, heads, T, width of a head]."""


@dataclass(frozen=True)
class Config:
    """The architecture. Height and width are multiples of 4, the grid a quarter of them."""

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    codes: int = 256
    code_dim: int = 16
    codec_width: int = 32
    width: int = 128
    layers: int = 6
    heads: int = 4

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.shape[1] // 4, self.shape[2] // 4


def load(path: str | Path) -> "TokenTransformer":
    """The model stored at ``path``, in eval mode."""
    model = TokenTransformer(read_config(path, FAMILY, Config))
    load_weights(path, model)
    return model


class TokenTransformer(nn.Module):
    """The codec between images and tokens, and the prior of tokens."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.codec = Codec(config)
        self.prior = Prior(config)

    @torch.no_grad()
    def sample(
        self, noise: Noise, labels: Tensor | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1]; each depends on its own noise and label alone.

        Args:
            noise: gives uniform noise [B, tokens].
            labels: classes, int64 [B], or None for images of any class.
            temperature: below 1 likelier tokens are drawn more often.
        """
        uniforms = noise.uniform(math.prod(self.config.grid))
        labels = or_any(labels, len(uniforms), self.config.classes, uniforms.device)
        return self.codec.decode(self.prior.write(labels, uniforms, temperature))


class Codec(nn.Module):
    """An autoencoder whose code is a grid of entries of a codebook."""

    codebook: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, width = config.shape[0], config.codec_width
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            Residual(2 * width),
            Residual(2 * width),
            nn.Conv2d(2 * width, config.code_dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.code_dim, 2 * width, 3, padding=1),
            Residual(2 * width),
            Residual(2 * width),
            nn.ConvTranspose2d(2 * width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.register_buffer("codebook", torch.randn(config.codes, config.code_dim))

    def encode(self, images: Tensor) -> Tensor:
        """Codes before quantisation, float32 [B, code_dim, h, w], of images in [0, 1]."""
        codes: Tensor = self.encoder(images * 2 - 1)
        return codes.float()

    def tokens(self, codes: Tensor) -> Tensor:
        """The nearest entry of the codebook, int64 [B, h, w], of codes [B, code_dim, h, w]."""
        rows = codes.movedim(1, -1)
        # |row|² is the same for every entry, so it is left out.
        distance = self.codebook.square().sum(1) - 2 * rows @ self.codebook.T
        return distance.argmin(dim=-1)

    def entries(self, tokens: Tensor) -> Tensor:
        """Entries of the codebook, [B, code_dim, h, w], of tokens [B, h, w]."""
        return self.codebook[tokens].movedim(-1, 1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] in [0, 1] of tokens int64 [B, h · w]."""
        return self.draw(self.entries(torch.unflatten(tokens, 1, self.config.grid))).clamp(0, 1)

    def draw(self, entries: Tensor) -> Tensor:
        """Images about [0, 1] of entries [B, code_dim, h, w]."""
        images: Tensor = self.decoder(entries)
        return (images.float() + 1) / 2


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] to the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class Prior(nn.Module):
    """A class and the tokens so far to the next token's distribution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(config.classes + 1, config.width)
        self.token_embedding = nn.Embedding(config.codes, config.width)
        self.place_embedding = nn.Embedding(math.prod(config.grid), config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, config.codes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, T, codes] of each token of int64 [B, T], given the label and those before.

        The last token is seen by none.
        """
        before = self.token_embedding(tokens[:, :-1])
        x = torch.cat([self.label_embedding(labels)[:, None], before], dim=1)
        x = x + self.place_embedding.weight[: tokens.shape[1]]
        for layer in self.layers:
            x, _ = layer(x, None)
        logits: Tensor = self.leave(self.norm(x))
        return logits

    def step(
        self, embedded: Tensor, place: int, past: list[KeysAndValues | None]
    ) -> tuple[Tensor, list[KeysAndValues | None]]:
        """Logits [B, codes] of the token at ``place``, from what stands before it alone.

        Args:
            embedded: the token before, or the label at place 0, embedded, [B, width].
            past: each layer's keys and values, as the step before returned them; all None at 0.
        """
        x = (embedded + self.place_embedding.weight[place])[:, None]
        present: list[KeysAndValues | None] = []
        for layer, before in zip(self.layers, past, strict=True):
            x, now = layer(x, before)
            present.append(now)
        logits: Tensor = self.leave(self.norm(x[:, 0]))
        return logits, present

    def write(self, labels: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """Tokens int64 [B, T], each drawn with its uniform noise [B, T] after those before it."""
        past: list[KeysAndValues | None] = [None] * len(self.layers)
        written: list[Tensor] = []
        embedded = self.label_embedding(labels)
        for place in range(uniforms.shape[1]):
            logits, past = self.step(embedded, place, past)
            written.append(choose(logits, uniforms[:, place], temperature))
            embedded = self.token_embedding(written[-1])
        return torch.stack(written, dim=1)


def choose(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """One entry of each row of logits [B, K], where its cumulative share passes the noise [B]."""
    # In float64, so that where the sum passes depends on the last bits of the logits least.
    shares = F.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    passed = (shares <= uniforms[:, None]).sum(dim=-1)
    return passed.clamp_max(logits.shape[-1] - 1)


class Layer(nn.Module):
    """Attention to what stands before, and two linear layers, each around a shortcut."""

    def __init__(self, config: Config, dropout: float = 0.1) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: KeysAndValues | None) -> tuple[Tensor, KeysAndValues]:
        """[B, T, width] to the same shape, and the keys and values of all tokens so far.

        With ``past``, or T = 1, x are the last tokens; each sees what stands before it.
        """
        inward = self.inward(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = (part.transpose(1, 2) for part in inward.unbind(dim=2))
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        seen = _attention(query, key, value, causal=x.shape[1] > 1)
        x = x + self.dropout(self.outward(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.inner(self.norm(x))), (key, value)


def _attention(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """Scaled dot-product attention, [B, heads, T, width of a head].

    Plain products: with so few tokens torch's fused kernel takes three times as long to train on a
    CPU, and the weights that it does not hold are small.
    """
    weights = (query / math.sqrt(query.shape[-1])) @ key.transpose(2, 3)
    if causal:
        ahead = torch.ones(weights.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        weights = weights.masked_fill(ahead, -math.inf)
    return weights.softmax(dim=-1) @ value


class TransformerRecipe(Recipe):
    """First the codec, for a share of the epochs; then, with the codec fixed, the prior.

    What is kept is the moving average of the prior.

    Args:
        config: The architecture.
        codec_share: Share of the epochs that go to the codec.
        commitment: Weight of the distance between codes and their entries (beta of VQ-VAE).
        label_dropout: Share of labels replaced by "any class".
        average_decay: Of the moving average of the prior's weights.
    """

    epochs = 18
    batch_size = 128
    validate_every = 3
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        config: Config,
        *,
        learning_rate: float = 1e-3,
        codec_share: float = 0.45,
        commitment: float = 0.25,
        label_dropout: float = 0.1,
        average_decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.model: TokenTransformer = TokenTransformer(config)
        self.prior = self.model.prior
        self.average = Average(self.prior, average_decay)
        self.model.prior = self.average.module  # type: ignore[assignment]
        self.learning_rate, self.codec_share = learning_rate, codec_share
        self.commitment, self.label_dropout = commitment, label_dropout
        self.optimizers = [
            torch.optim.AdamW(self.model.codec.parameters(), lr=learning_rate, weight_decay=0.0),
            torch.optim.AdamW(
                self.prior.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05
            ),
        ]
        # All idle: the first batch fills the codebook.
        self.register_buffer("counts", torch.zeros(config.codes))
        self.register_buffer("sums", self.model.codec.codebook.clone())
        self._learns_codec = True

    @property
    def can_sample(self) -> bool:
        """Only once the prior learns."""
        return not self._learns_codec

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Begin from the weights of a model instead of random ones."""
        super().adopt(state)
        self.prior.load_state_dict(self.average.module.state_dict())
        self.sums.copy_(self.model.codec.codebook)
        self.counts.fill_(1)

    def begin(self, epoch: int, epochs: int) -> None:
        """Choose the stage; within each the learning rate falls along a half cosine."""
        border = min(epochs - 1, max(1, round(self.codec_share * epochs)))
        self._learns_codec = epoch < border
        if self._learns_codec:
            share = cosine(epoch, border)
        else:
            share = cosine(epoch - border, epochs - border)
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, self.learning_rate * share)

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step of the stage."""
        if self._learns_codec:
            return self._codec_step(images)
        return self._prior_step(images, labels)

    def _codec_step(self, images: Tensor) -> dict[str, Tensor]:
        codec = self.model.codec
        with self.autocast():
            codes = codec.encode(images)
        with torch.no_grad():
            tokens = codec.tokens(codes)
            self._move_codebook(codes.movedim(1, -1).flatten(0, 2), tokens.flatten())
        entries = codec.entries(tokens)
        # Straight through: the decoder sees entries, the encoder gets the decoder's gradient.
        with self.autocast():
            drawn = codec.draw(codes + (entries - codes).detach())
        error = F.mse_loss(drawn, images)
        apart = F.mse_loss(codes, entries)
        # Relative to the images' variance, so that the weights suit any data.
        loss = error / images.var().clamp_min(1e-4) + self.commitment * apart
        optimize(self.optimizers[0], loss)
        used = (self.counts > 0.1).float().mean()
        return {"reconstruction": error, "codebook in use": used}

    def _move_codebook(self, rows: Tensor, tokens: Tensor, decay: float = 0.99) -> None:
        """Each entry towards the mean of its codes; idle ones to codes of this batch."""
        counts = torch.zeros_like(self.counts).index_add_(0, tokens, torch.ones_like(rows[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, tokens, rows)
        self.counts.lerp_(counts, 1 - decay)
        self.sums.lerp_(sums, 1 - decay)
        idle = self.counts < 0.1
        if idle.any():
            drawn = torch.randint(len(rows), (int(idle.sum()),), device=rows.device)
            self.sums[idle], self.counts[idle] = rows[drawn], 1.0
        self.model.codec.codebook.copy_(self.sums / self.counts[:, None])

    def _prior_step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        codec = self.model.codec
        with torch.no_grad():
            tokens = codec.tokens(codec.encode(images)).flatten(1)
        labels = drop(labels, self.label_dropout, codec.config.classes)
        with self.autocast():
            logits = self.prior(tokens, labels)
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())
        optimize(self.optimizers[1], loss, most=1.0)
        self.average.update(self.prior)
        return {"bits per token": loss / math.log(2)}
