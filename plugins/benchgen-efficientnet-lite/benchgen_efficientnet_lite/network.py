"""EfficientNet-Lite0: the layers, without weights.

Papers: Tan and Le 2019, arXiv:1905.11946 (EfficientNet); Sandler et al. 2018, arXiv:1801.04381
(inverted residuals). Lite, as TensorFlow's authors published it in 2020, leaves out squeeze and
excitation, and has ReLU6 for every activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

FEATURE_WIDTH = 1280
CLASSES = 1000
SIDE = 224

_STEM = 32


@dataclass(frozen=True)
class _Stage:
    """Blocks of one width; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, width=16),
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, width=24),
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, width=40),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, width=80),
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, width=112),
    _Stage(blocks=4, kernel=5, stride=2, expansion=6, width=192),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, width=320),
)


class EfficientNetLite0(nn.Module):
    """4.7 million parameters. The names of the parts follow the published weights' keys."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConvolution(3, _STEM, kernel=3, stride=2)
        self.bn0 = _normalisation(_STEM)
        self.blocks = nn.Sequential(*_blocks())
        self.conv_head = _SameConvolution(_STAGES[-1].width, FEATURE_WIDTH, kernel=1)
        self.bn1 = _normalisation(FEATURE_WIDTH)
        self.fc = nn.Linear(FEATURE_WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features float32 ``[B, 1280]`` after the average pool, and logits ``[B, 1000]``.

        ``images`` is float32 ``[B, 3, 224, 224]``, ``(x - 127) / 128`` of 8-bit values.
        """
        maps = F.relu6(self.bn0(self.conv_stem(images)))
        maps = F.relu6(self.bn1(self.conv_head(self.blocks(maps))))
        features = maps.mean(dim=(2, 3))
        return features, self.fc(features)


def _blocks() -> list[nn.Module]:
    blocks: list[nn.Module] = []
    inputs = _STEM
    for stage in _STAGES:
        for number in range(stage.blocks):
            blocks.append(_Block(inputs, stage, stage.stride if number == 0 else 1))
            inputs = stage.width
    return blocks


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel by itself, narrow; add where shapes agree."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        self._expands = stage.expansion > 1
        self._adds = stride == 1 and inputs == stage.width
        if self._expands:
            self.expand_conv = _SameConvolution(inputs, wide, kernel=1)
            self.bn0 = _normalisation(wide)
        self.depthwise_conv = _SameConvolution(wide, wide, stage.kernel, stride, groups=wide)
        self.bn1 = _normalisation(wide)
        self.project_conv = _SameConvolution(wide, stage.width, kernel=1)
        self.bn2 = _normalisation(stage.width)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = inputs
        if self._expands:
            maps = F.relu6(self.bn0(self.expand_conv(maps)))
        maps = F.relu6(self.bn1(self.depthwise_conv(maps)))
        narrow: Tensor = self.bn2(self.project_conv(maps))
        return narrow + inputs if self._adds else narrow


class _SameConvolution(nn.Conv2d):
    """Padded as TensorFlow's "same": what is odd of it goes to the right and the bottom."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(input, self.weight, padding=kernel // 2, groups=self.groups)
        top, bottom = _same_padding(input.shape[2], kernel, stride)
        left, right = _same_padding(input.shape[3], kernel, stride)
        padded = F.pad(input, [left, right, top, bottom])
        return F.conv2d(padded, self.weight, stride=stride, groups=self.groups)


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _normalisation(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)
