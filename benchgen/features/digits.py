"""The extractor ``digits``: a small convolutional network trained on MNIST, weights shipped.

``benchgen.features.train_digits`` trains it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from benchgen.arithmetic import exact_float32
from benchgen.features.extractor import Extracted

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
FEATURE_WIDTH = 64
CLASSES = 10
SIDE = 28


class DigitsExtractor:
    """Gray level, reduced or enlarged to 28x28, through the digit network.

    Bright strokes on black are expected, as MNIST has them.
    """

    d = FEATURE_WIDTH
    classes = tuple(str(digit) for digit in range(CLASSES))

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._net = load_digits_net().to(self._device)
        self.fingerprint: Mapping[str, str] = {
            "network": "digits",
            "weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
            "layer": f"penultimate-{FEATURE_WIDTH}",
            "resize": "bilinear-antialiased-28",
            "arithmetic": "float32",
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 features ``[B, 64]`` and logits ``[B, 10]``."""
        gray = images.to(self._device).float().mean(1, keepdim=True) / 255
        if gray.shape[-2:] != (SIDE, SIDE):
            gray = F.interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True)
        with exact_float32():
            features, logits = self._net(gray)
        return Extracted(features.cpu(), logits.cpu())


def load_digits_net(path: Path = WEIGHTS) -> DigitsNet:
    """The trained network in eval mode; stored as float16, computed in float32."""
    net = DigitsNet()
    net.load_state_dict(load_file(path))
    return net.eval()


class DigitsNet(nn.Module):
    """A VGG-like network for 28x28 grey digits with a narrow, smooth penultimate layer.

    The features are batch-normalised and pass through SiLU rather than ReLU, so that no unit is
    constantly zero and their covariance has full rank.

    Papers: Simonyan and Zisserman 2015 (stacked 3x3 convolutions); Ioffe and Szegedy 2015 (batch
    normalisation); Elfwing et al. 2018 (SiLU).
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(1, 24, kernel=5),
            nn.MaxPool2d(2),
            *_convolution(24, 48),
            *_convolution(48, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 96),
            *_convolution(96, 96, stride=2),
            nn.Flatten(),
        )
        self.penultimate = nn.Sequential(
            nn.Linear(96 * 4 * 4, FEATURE_WIDTH, bias=False),
            nn.BatchNorm1d(FEATURE_WIDTH),
            nn.SiLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURE_WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features float32 [B, 64] and logits float32 [B, 10].

        ``images`` is float32 [B, 1, 28, 28] in [0, 1], bright strokes on black.
        """
        features = self.penultimate(self.convolutions(images))
        return features, self.classifier(self.dropout(features))


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    ]
