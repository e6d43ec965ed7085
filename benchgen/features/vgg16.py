"""VGG16 trained on ImageNet, as torch-fidelity uses it and as precision and recall were defined."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchgen.errors import UsageError, WeightsError
from benchgen.features.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Input,
    NetworkExtractor,
    channels_last,
    features_only,
    made_when_needed,
)
from benchgen.features.weights import Published, load_state, locate
from benchgen.images.resize import Rule

# The publisher's own sum, of which the file name carries the first digits.
PUBLISHED = Published(
    filename="vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
)

_SIDE = 224
_D = 4096
LAYERS = ("fc2_relu", "fc2")


def load(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
    layer: str = "fc2_relu",
) -> NetworkExtractor:
    """The ``vgg16`` extractor: the 4,096 values of the second fully connected layer.

    Args:
        device: Where to compute.
        weights: Path to the weights; the published ones (528 MB) are found or fetched otherwise.
        weights_sha256: Allows weights other than the published ones, by naming their sha256.
        resize: How images come to 224 x 224; "tf1" is torch-fidelity's rule.
        layer: "fc2_relu" (torch-fidelity's choice for every metric) or "fc2", before the ReLU.

    Raises:
        UsageError: no such layer or resize rule, or a sha256 without weights.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    if layer not in LAYERS:
        raise UsageError(f"vgg16: no layer is called {layer!r}; known: {', '.join(LAYERS)}")
    prepare = Input.of(_SIDE, resize, IMAGENET_MEAN, IMAGENET_STD)
    path, sha256 = locate("vgg16", PUBLISHED, weights, weights_sha256)
    network = made_when_needed(
        lambda: channels_last(_build(load_state(path, sha256), layer == "fc2_relu"), device),
        at_once=weights_sha256 is not None,
    )
    return NetworkExtractor(
        features_only(network),
        prepare,
        device,
        _D,
        {"network": "vgg16", "weights": sha256, "layer": layer, **prepare.fingerprint},
        side=_SIDE,
    )


def _build(state: dict[str, Tensor], with_relu: bool) -> nn.Module:
    """The network up to its second fully connected layer: torchvision's, as in torch-fidelity."""
    from torchvision.models import vgg16

    with torch.device("meta"):  # no random start, which takes seconds
        network = vgg16()
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"these weights are not VGG16's: {error}") from error
    # fc1, ReLU, dropout, fc2, ReLU, dropout, and the classifier
    network.classifier = network.classifier[: 5 if with_relu else 4]
    made: nn.Module = network.float()
    return made
