"""CLIP's image tower (ViT-B/32), as torch-fidelity carries it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchgen.errors import WeightsError
from benchgen.features.network import Input, NetworkExtractor, features_only, made_when_needed
from benchgen.features.torchscript import is_torchscript, load_torchscript_module
from benchgen.features.weights import Published, load_state, locate
from benchgen.images.resize import Rule

# OpenAI publishes the sum as a part of the URL.
_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
PUBLISHED = Published(
    filename=f"clip-vit-b-32-{_SHA256}.pt",
    sha256=_SHA256,
    url=f"https://openaipublic.azureedge.net/clip/models/{_SHA256}/ViT-B-32.pt",
)

_SIDE = 224
_D = 512
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def load(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
) -> NetworkExtractor:
    """The ``clip-vit-b-32`` extractor: image embeddings of 512 values, not normalised.

    Args:
        device: Where to compute.
        weights: Path to the weights; the published ones (354 MB) are found or fetched otherwise.
        weights_sha256: Allows other weights than the published ones, by naming their sha256: a
            state dict of OpenAI's layout (``visual.conv1.weight`` and so on) and this size.
        resize: How images come to 224 x 224; "tf1" is torch-fidelity's rule.

    Raises:
        UsageError: no such resize rule, or a sha256 without weights.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    prepare = Input.of(_SIDE, resize, _MEAN, _STD)
    path, sha256 = locate("clip-vit-b-32", PUBLISHED, weights, weights_sha256)
    network = made_when_needed(
        lambda: _build(_state(path, sha256)).to(device).eval(),
        at_once=weights_sha256 is not None,
    )
    return NetworkExtractor(
        features_only(network),
        prepare,
        device,
        _D,
        {"network": "clip-vit-b-32", "weights": sha256, "layer": "clip", **prepare.fingerprint},
        side=_SIDE,
    )


def _state(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of the published TorchScript archive, or of a plain file of weights.

    An archive carries code. Only the published one is opened, whose hash is fixed above; a hash
    that the user gives is no reason to trust code.
    """
    if sha256 == PUBLISHED.sha256:
        state = load_torchscript_module(path, sha256).state_dict()
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript archive, which carries code, and not the published one; "
            "save its state_dict() as .safetensors and give that file's sha256"
        )
    return load_state(path, sha256)


def _build(state: dict[str, Tensor]) -> nn.Module:
    """torch-fidelity's network with these weights, its image tower alone."""
    from torch_fidelity.feature_extractor_clip import build_model

    try:
        # The random start must not move the caller's random state.
        with torch.random.fork_rng(devices=[]):
            tower: nn.Module = build_model(dict(state), torch.float32).visual
    except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"these weights are not CLIP ViT-B/32's: {error}") from error
    shape = (tower.get_parameter("conv1.weight").shape[-1], *tower.get_parameter("proj").shape)
    if shape != (32, 768, _D):
        raise WeightsError(
            f"these weights are of another CLIP: patch, width and d are {shape}; "
            f"expected {(32, 768, _D)}"
        )
    return tower.float().requires_grad_(False)
