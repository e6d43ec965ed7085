"""CLIP (ViT-B/32): its image tower as torch-fidelity carries it, and classes told by texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchgen.errors import UsageError, WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.network import Input, NetworkExtractor, made_when_needed
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
    classes: Mapping[str, str | Sequence[str]] | None = None,
) -> NetworkExtractor:
    """The ``clip-vit-b-32`` extractor: image embeddings of 512 values, not normalised.

    Args:
        device: Where to compute.
        weights: Path to the weights; the published ones (354 MB) are found or fetched otherwise.
        weights_sha256: Allows other weights than the published ones, by naming their sha256: a
            state dict of OpenAI's layout (``visual.conv1.weight`` and so on) and this size.
        resize: How images come to 224 x 224; "tf1" is torch-fidelity's rule.
        classes: Texts by class, which make it a classifier without training (Radford et al. 2021,
            arXiv:2103.00020): logits are the cosines of image and text, times the model's scale;
            of several texts, the mean of their normalised embeddings counts. Needs open_clip.

    Raises:
        UsageError: no such resize rule, a sha256 without weights, fewer than two classes, or
            open_clip is missing.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    prepare = Input.of(_SIDE, resize, _MEAN, _STD)
    path, sha256 = locate("clip-vit-b-32", PUBLISHED, weights, weights_sha256)
    texts = {name: (told,) if isinstance(told, str) else tuple(told) for name, told in _of(classes)}
    if texts:
        _open_clip()
    forward = made_when_needed(
        lambda: _forward(_state(path, sha256), texts, device), at_once=weights_sha256 is not None
    )
    told = {"classes": "; ".join(f"{name}: {' | '.join(texts[name])}" for name in texts)}
    return NetworkExtractor(
        forward,
        prepare,
        device,
        _D,
        {
            "network": "clip-vit-b-32",
            "weights": sha256,
            "layer": "clip",
            **(told if texts else {}),
            **prepare.fingerprint,
        },
        side=_SIDE,
        classes=tuple(texts),
    )


def _of(classes: Mapping[str, str | Sequence[str]] | None) -> list[tuple[str, str | Sequence[str]]]:
    found = list((classes or {}).items())
    if len(found) == 1 or any(not told for _, told in found):
        raise UsageError(f"clip-vit-b-32: classes is {classes}; give two or more, each with a text")
    return found


def _forward(
    state: dict[str, Tensor], texts: Mapping[str, Sequence[str]], device: str | torch.device
) -> Callable[[Tensor], Extracted]:
    tower = _build(state).to(device).eval()
    if not texts:
        return lambda images: Extracted(tower(images))
    directions = _directions(state, texts).to(device)

    def forward(images: Tensor) -> Extracted:
        features = tower(images)
        return Extracted(features, F.normalize(features) @ directions.T)

    return forward


@torch.no_grad()
def _directions(state: dict[str, Tensor], texts: Mapping[str, Sequence[str]]) -> Tensor:
    """The embedding of each class's texts, as long as the model's scale: float32 ``[K, d]``."""
    open_clip = _open_clip()
    try:
        with torch.random.fork_rng(devices=[]):
            model = open_clip.model.build_model_from_openai_state_dict(
                dict(state), cast_dtype=torch.float32
            ).float()
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"these weights have no text tower of CLIP: {error}") from error
    means = [
        model.encode_text(open_clip.tokenize(list(told)), normalize=True).mean(dim=0)
        for told in texts.values()
    ]
    return F.normalize(torch.stack(means)) * state["logit_scale"].float().exp()


def _open_clip() -> Any:
    try:
        import open_clip  # type: ignore[import-untyped,import-not-found]
    except ImportError as error:
        raise UsageError(
            "clip-vit-b-32 reads the texts of classes with open_clip, which is not installed: "
            "pip install 'benchgen[clip]'"
        ) from error
    return open_clip


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
