"""A class-conditional gated PixelCNN: one pixel after the other, each from all before it.

The image is taken in blocks of 2 x 2 pixels, in raster order, and within a block again. Blocks
above are seen by a vertical stack of convolutions, blocks to the left by a horizontal one, which
the vertical one feeds; so no block before is out of sight. What the stacks say of a block, and the
pixels of it that are known, tell the next pixel: a mixture of discretised logistics, hence the
likelihood is exact, in bits per dimension of 8-bit images.

Sampling keeps what each layer has computed: the vertical stack once a row, the horizontal one
once a block. So a step costs a step, not a pass over the whole image.

Papers: van den Oord et al. 2016a (PixelRNN), 2016b (gates, the two stacks, conditioning);
Salimans et al. 2017 (the mixture of discretised logistics); Menick and Kalchbrenner 2019 (parts of
an image in other than raster order); Ramachandran et al. 2017 (caching); Yu and Koltun 2016
(dilation).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.checkpoint import load_weights, read_config
from reference_models.labels import drop, or_any
from reference_models.noise import Noise
from reference_models.pixel_distributions import draw, mixture_log_prob, parameter_count, scaled
from reference_models.training import AveragedRecipe, cosine, optimize, set_learning_rate

FAMILY = "pixelcnn"
_ABOVE = (2, 5)  # rows and columns of blocks that the first vertical layer sees, above the block's
_LEFT = 3  # blocks that the first horizontal layer sees

Choose = Callable[[int, int, Tensor], Tensor]
"""(row, column, parameters [B, P]) -> the pixels there, uint8 [B, C]."""


@dataclass(frozen=True)
class Config:
    """The architecture: one layer for each dilation. Height and width are multiples of block."""

    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    block: int = 2
    width: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1)
    components: int = 10


def load(path: str | Path) -> "PixelCNN":
    """The model stored at ``path``, in eval mode."""
    model = PixelCNN(read_config(path, FAMILY, Config))
    load_weights(path, model)
    return model


class PixelCNN(nn.Module):
    """Levels so far, and a label, to the distribution of each pixel."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, places, width = config.shape[0], config.block**2, config.width
        # One channel more, of ones: so the border is unlike a pixel of middle gray.
        self.above = nn.Conv2d(channels * places + 1, width, _ABOVE)
        self.left = nn.Conv2d(channels * places + 1, width, (1, _LEFT))
        self.layers = nn.ModuleList(
            Layer(width, dilation, config.classes + 1) for dilation in config.dilations
        )
        self.places = nn.ModuleList(
            Place(width, known * channels, channels, config.components) for known in range(places)
        )

    def forward(self, levels: Tensor, labels: Tensor) -> Tensor:
        """Parameters [B, H, W, P] of every pixel's mixture, given all pixels before it.

        Args:
            levels: uint8 [B, C, H, W].
            labels: int64 [B].
        """
        seen = self._seen(levels)
        rows, columns = _ABOVE
        side = columns // 2
        vertical = self.above(F.pad(seen, (side, side, rows, 0))[:, :, :-1])
        horizontal = self.left(F.pad(seen, (_LEFT, 0))[..., :-1])
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, labels)
        told, channels = horizontal.permute(0, 2, 3, 1), levels.shape[1]
        block = self._by_place(seen[:, :-1])
        found = [
            place(told, block[..., : known * channels]) for known, place in enumerate(self.places)
        ]
        side = self.config.block
        batch, down, across, outputs = found[0].shape
        out = torch.stack(found, dim=3).reshape(batch, down, across, side, side, outputs)
        return out.transpose(2, 3).reshape(batch, down * side, across * side, outputs)

    @torch.no_grad()
    def sample(
        self, noise: Noise, labels: Tensor | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Images uint8 [B, C, H, W]; each depends on its own noise and label alone.

        Args:
            noise: gives uniform noise [B, H, W, C + 1].
            labels: classes, int64 [B], or None for images of any class.
            temperature: below 1 likelier pixels are drawn more often.
        """
        channels, height, width = self.config.shape
        uniforms = noise.uniform(height, width, channels + 1)
        labels = or_any(labels, len(uniforms), self.config.classes, uniforms.device)

        def choose(row: int, column: int, parameters: Tensor) -> Tensor:
            return draw(parameters, uniforms[:, row, column], temperature)

        return self.scan(labels, choose)

    @torch.no_grad()
    def log_likelihood(self, images: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Log p(image), exact, nats, float64 [B], of uint8 images [B, C, H, W]."""
        labels = or_any(labels, len(images), self.config.classes, images.device)
        return self.log_prob(images, labels).double()

    def log_prob(self, levels: Tensor, labels: Tensor) -> Tensor:
        """Log p(image | label), nats, float32 [B], of uint8 images [B, C, H, W]."""
        parameters = self(levels, labels)
        return mixture_log_prob(parameters, levels.permute(0, 2, 3, 1)).sum(dim=(1, 2))

    @torch.no_grad()
    def scan(self, labels: Tensor, choose: Choose) -> Tensor:
        """Images uint8 [B, C, H, W], pixel by pixel as ``choose`` says, without recomputing."""
        side, (height, width) = self.config.block, self.config.shape[1:]
        levels = torch.zeros(len(labels), *self.config.shape, dtype=torch.uint8)
        levels = levels.to(labels.device)
        stacks = _Stacks(self, labels)
        for top in range(0, height, side):
            stacks.begin_row(self._seen(levels[:, :, max(0, top - side * _ABOVE[0]) : top]))
            block = None
            for left in range(0, width, side):
                told = stacks.next(block)
                known = told.new_zeros(len(told), 0)
                for at, place in enumerate(self.places):
                    row, column = top + at // side, left + at % side
                    chosen = choose(row, column, place(told, known))
                    levels[:, :, row, column] = chosen
                    known = torch.cat([known, scaled(chosen).to(known.dtype)], dim=1)
                block = self._seen(levels[:, :, top : top + side, left : left + side]).flatten(1)
        return levels

    def _seen(self, levels: Tensor) -> Tensor:
        """Levels [B, C, H, W] as the layers take them: blocks, scaled, and a channel of ones."""
        values, side = scaled(levels).to(self.left.weight.dtype), self.config.block
        batch, channels, height, width = values.shape
        down, across = height // side, width // side
        apart = values.reshape(batch, channels, down, side, across, side)
        blocks = apart.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * side**2, down, across)
        return torch.cat([blocks, torch.ones_like(blocks[:, :1])], dim=1)

    def _by_place(self, blocks: Tensor) -> Tensor:
        """Blocks [B, C * places, h, w] as [B, h, w, places * C], one pixel after the other."""
        batch, depth, down, across = blocks.shape
        channels = self.config.shape[0]
        apart = blocks.reshape(batch, channels, depth // channels, down, across)
        return apart.permute(0, 3, 4, 2, 1).flatten(3)


class Place(nn.Module):
    """From what is told of a block, and its pixels so far, to the distribution of the next."""

    def __init__(self, width: int, known: int, channels: int, components: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width + known, 2 * width)
        self.leave = nn.Linear(2 * width, parameter_count(channels, components))
        _spread(self.leave, channels, components)

    def forward(self, told: Tensor, known: Tensor) -> Tensor:
        """Parameters [..., P] of told [..., width] and known [..., places so far * C]."""
        both = torch.cat([F.silu(told), known.to(told.dtype)], dim=-1)
        out: Tensor = self.leave(F.silu(self.enter(both)))
        return out


class Layer(nn.Module):
    """One gated layer of both stacks, each with a shortcut."""

    def __init__(self, width: int, dilation: int, kinds: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.vertical = nn.Conv2d(width, 2 * width, (2, 3), dilation=dilation)
        self.horizontal = nn.Conv2d(width, 2 * width, (1, 2), dilation=dilation)
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.leave = nn.Conv2d(width, width, 1)
        self.told = nn.Embedding(kinds, 4 * width)
        nn.init.normal_(self.told.weight, std=0.05)
        for part in (self.vertical, self.horizontal, self.link, self.leave):
            nn.init.kaiming_normal_(part.weight, nonlinearity="linear")
            assert part.bias is not None
            nn.init.zeros_(part.bias)

    def forward(
        self, vertical: Tensor, horizontal: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both stacks [B, width, H, W], one layer on."""
        told_vertical, told_horizontal = self.told(labels)[:, :, None, None].chunk(2, dim=1)
        by = self.dilation
        seen = self.vertical(F.pad(vertical, (by, by, by, 0)))
        vertical = vertical + _gate(seen + told_vertical.to(seen.dtype), 1)
        seen = self.horizontal(F.pad(horizontal, (by, 0))) + self.link(vertical)
        seen = seen + told_horizontal.to(seen.dtype)
        return vertical, horizontal + self.leave(_gate(seen, 1))


class _Stacks:
    """What both stacks hold while an image grows: all rows of one, this row of the other."""

    def __init__(self, model: PixelCNN, labels: Tensor) -> None:
        self._model = model
        self._layers = [_LayerSoFar(layer, labels) for layer in model.layers]  # type: ignore[arg-type]
        self._left = model.left.weight.permute(0, 3, 2, 1).flatten(1)

    def begin_row(self, above: Tensor) -> None:
        """Start a row; ``above`` [B, D, up to 2, w] are the rows of blocks before it."""
        rows, columns = _ABOVE
        side = columns // 2
        if above.shape[2] == 0:
            above = F.pad(above, (0, 0, rows, 0))
        above = F.pad(above, (side, side, rows - above.shape[2], 0))
        vertical = self._model.above(above)
        for layer in self._layers:
            vertical = layer.begin_row(vertical)
        self._blocks = [above.new_zeros(above.shape[:2])] * _LEFT

    def next(self, block: Tensor | None) -> Tensor:
        """What is told of the next block [B, width]; ``block`` [B, D] is the one before."""
        if block is not None:
            self._blocks = [*self._blocks[1:], block]
        horizontal = F.linear(torch.cat(self._blocks, dim=1), self._left, self._model.left.bias)
        for layer in self._layers:
            horizontal = layer.next(horizontal)
        return horizontal


class _LayerSoFar:
    """One layer's part of :class:`_Stacks`."""

    def __init__(self, layer: Layer, labels: Tensor) -> None:
        self._layer, self._by = layer, layer.dilation
        told_vertical, told_horizontal = layer.told(labels).chunk(2, dim=1)
        self._told_vertical = told_vertical[:, :, None, None]
        self._told_horizontal = told_horizontal[:, :, None, None]
        self._before, self._here = layer.horizontal.weight[:, :, 0].unbind(dim=-1)
        self._both = torch.cat([self._before, self._here], dim=1)
        self._leave = layer.leave.weight.flatten(1)
        self._rows: list[Tensor] = []
        self._row: list[Tensor] = []

    def begin_row(self, vertical: Tensor) -> Tensor:
        """This layer's input of the vertical stack [B, width, 1, W] to its output."""
        by = self._by
        self._rows = [*self._rows[-by:], vertical]  # no layer looks further up than its dilation
        higher = self._rows[0] if len(self._rows) > by else torch.zeros_like(vertical)
        both = F.pad(torch.cat([higher, vertical], dim=2), (by, by))
        layer = self._layer.vertical
        seen = F.conv2d(both, layer.weight, layer.bias, dilation=(1, by)) + self._told_vertical
        vertical = vertical + _gate(seen, 1)
        linked = self._layer.link(vertical) + self._told_horizontal
        bias = self._layer.horizontal.bias
        assert bias is not None
        self._linked = (linked[:, :, 0] + bias[:, None]).permute(2, 0, 1).contiguous()
        self._row = []
        return vertical

    def next(self, horizontal: Tensor) -> Tensor:
        """This layer's input of the horizontal stack [B, width], at the next block."""
        column = len(self._row)
        self._row.append(horizontal)
        if column >= self._by:
            both = torch.cat([self._row[column - self._by], horizontal], dim=1)
            seen = torch.addmm(self._linked[column], both, self._both.T)
        else:
            seen = torch.addmm(self._linked[column], horizontal, self._here.T)
        return horizontal + F.linear(_gate(seen, 1), self._leave, self._layer.leave.bias)


def _gate(seen: Tensor, dim: int) -> Tensor:
    content, gate = seen.chunk(2, dim=dim)
    return torch.tanh(content) * torch.sigmoid(gate)


@torch.no_grad()
def _spread(parameters: nn.Linear, channels: int, components: int) -> None:
    """Begin with components of equal weight, side by side over the range of levels."""
    table = parameters.bias.view(-1, components)
    table.zero_()
    table[1 : 1 + channels] = torch.linspace(-1, 1, components)
    table[1 + channels : 1 + 2 * channels] = math.log(2 / components) - 1


class PixelCNNRecipe(AveragedRecipe):
    """Maximum likelihood with Adam; what is kept is the moving average.

    Args:
        config: The architecture.
        label_dropout: Share of labels replaced by "any class".
        average_decay: Of the moving average of the weights.
    """

    network: PixelCNN
    epochs = 14
    batch_size = 32
    validate_every = 5

    def __init__(
        self,
        config: Config,
        *,
        learning_rate: float = 5e-3,
        label_dropout: float = 0.1,
        average_decay: float = 0.999,
    ) -> None:
        super().__init__(PixelCNN(config), average_decay)
        self.config = config
        self.learning_rate, self.label_dropout = learning_rate, label_dropout
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=learning_rate, betas=(0.9, 0.99)
        )
        self.optimizers = [self.optimizer]

    def begin(self, epoch: int, epochs: int) -> None:
        """The learning rate falls along a half cosine."""
        set_learning_rate(self.optimizer, self.learning_rate * cosine(epoch, epochs))

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step up the likelihood; reports bits per dimension."""
        labels = drop(labels, self.label_dropout, self.config.classes)
        levels = (images * 255).round().to(torch.uint8)
        with self.autocast():
            loss = -self.network.log_prob(levels, labels).mean()
        optimize(self.optimizer, loss, most=100.0)
        self.average.update(self.network)
        return {"bits/dim": loss / (levels[0].numel() * math.log(2))}
