"""Distributions of 8-bit pixels: mixtures of logistics, discretised to the 256 levels.

Levels are scaled to [-1, 1], so that a level is 2/255 wide. The lowest and the highest level get
all the mass beyond them. With three channels, the mean of green moves with red, and that of blue
with both, within each component.

Paper: Salimans et al. 2017, "PixelCNN++", section 2.1 and 2.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_HALF_LEVEL = 1 / 255
_LEAST_LOG_SCALE = -7.0


def parameter_count(channels: int, components: int) -> int:
    """Numbers per pixel: weights, means, log scales, and how channels move each other's means."""
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


def scaled(levels: Tensor) -> Tensor:
    """uint8 levels as float32 in [-1, 1]."""
    return levels.float() * (2 / 255) - 1


def mixture_log_prob(parameters: Tensor, levels: Tensor) -> Tensor:
    """Log probability of each pixel, float32 [..., ] in nats, over its channels together.

    Args:
        parameters: float [..., :func:`parameter_count`].
        levels: the pixels, uint8 [..., C].
    """
    logits, means, log_scales, mixing = _split(parameters, levels.shape[-1])
    values = scaled(levels).unsqueeze(-1)
    means = _moved(means, mixing, values)
    inside = logistic_log_prob(values, means, log_scales).sum(dim=-2)
    return torch.logsumexp(F.log_softmax(logits, dim=-1) + inside, dim=-1)


def logistic_log_prob(values: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log mass of one level under a discretised logistic; the three broadcast.

    Args:
        values: levels scaled to [-1, 1].
        means, log_scales: of the logistic on that scale.
    """
    values, means, log_scales = values.float(), means.float(), log_scales.float()
    sharpness = torch.exp(-log_scales.clamp_min(_LEAST_LOG_SCALE))
    apart = values - means
    above, below = sharpness * (apart + _HALF_LEVEL), sharpness * (apart - _HALF_LEVEL)
    # log(σ(a) - σ(b)) = a' + log(1 - e^(b-a)), written so that neither tail underflows.
    width = above - below
    middle = (
        F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-width.clamp_min(1e-6)))
    )
    lowest, highest = F.logsigmoid(above), F.logsigmoid(-below)
    found = torch.where(values < -0.999, lowest, middle)
    return torch.where(values > 0.999, highest, found)


def draw(parameters: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
    """Levels uint8 [..., C] drawn with the given noise.

    Args:
        parameters: float [..., :func:`parameter_count`].
        uniforms: in [0, 1), [..., C + 1]: one to choose the component, one for each channel.
        temperature: below 1 the likelier is drawn more often: log weights are divided by it,
            scales multiplied.
    """
    channels = uniforms.shape[-1] - 1
    logits, means, log_scales, mixing = _split(parameters, channels)
    shares = F.softmax(logits.float() / temperature, dim=-1).cumsum(dim=-1)
    chosen = (shares < uniforms[..., :1]).sum(dim=-1, keepdim=True).clamp_max(logits.shape[-1] - 1)
    at = chosen.unsqueeze(-2)
    levels: list[Tensor] = []
    known = torch.zeros_like(uniforms[..., 1:])
    inner = uniforms[..., 1:].clamp(1e-5, 1 - 1e-5)
    noise = torch.log(inner) - torch.log1p(-inner)
    for channel in range(channels):
        centre = _moved(means, mixing, known.unsqueeze(-1))
        mean = centre.gather(-1, at.expand(*centre.shape[:-1], 1))[..., channel, 0]
        scale = log_scales.gather(-1, at.expand(*log_scales.shape[:-1], 1))[..., channel, 0]
        spread = torch.exp(scale.clamp_min(_LEAST_LOG_SCALE)) * temperature
        value = mean + spread * noise[..., channel]
        level = ((value.clamp(-1, 1) + 1) * (255 / 2)).round()
        levels.append(level.to(torch.uint8))
        known = known.clone()
        known[..., channel] = scaled(levels[-1])
    return torch.stack(levels, dim=-1)


def _split(parameters: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights' logits [..., K], means and log scales [..., C, K], and mixing [..., pairs, K]."""
    per_component = 1 + 2 * channels + channels * (channels - 1) // 2
    table = torch.unflatten(parameters.float(), -1, (per_component, -1))
    logits = table[..., 0, :]
    means = table[..., 1 : 1 + channels, :]
    log_scales = table[..., 1 + channels : 1 + 2 * channels, :].clamp_min(_LEAST_LOG_SCALE)
    return logits, means, log_scales, torch.tanh(table[..., 1 + 2 * channels :, :])


def _moved(means: Tensor, mixing: Tensor, values: Tensor) -> Tensor:
    """Means [..., C, K], moved by the values [..., C, 1] of the channels before."""
    if means.shape[-2] == 1:
        return means
    red, green, blue = means.unbind(dim=-2)
    told_red, told_green = values[..., 0, :], values[..., 1, :]
    green = green + mixing[..., 0, :] * told_red
    blue = blue + mixing[..., 1, :] * told_red + mixing[..., 2, :] * told_green
    return torch.stack([red, green, blue], dim=-2)
