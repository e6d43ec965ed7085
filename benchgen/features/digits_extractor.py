"""The extractor ``digits``: features and class logits of handwritten digits, weights shipped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.features.arithmetic import exact_float32
from benchgen.features.digits import CLASSES, FEATURE_WIDTH, WEIGHTS, load_digits_net
from benchgen.features.extractor import Extracted

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
