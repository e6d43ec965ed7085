"""Any classification network of torchvision as an extractor, by its name and layer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchgen.errors import UnknownIdError, UsageError, WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.network import NetworkExtractor, channels_last
from benchgen.features.weights import Published, load_state, locate, state_digest

RANDOM = "random"
_NAMED_SUM = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def load(
    device: str | torch.device,
    model: str = "resnet50",
    layer: str | None = None,
    weights: str = "DEFAULT",
    weights_sha256: str | None = None,
    seed: int = 0,
) -> NetworkExtractor:
    """The ``torchvision`` extractor.

    Images are converted to float32 in [0, 1] first; then resized, cropped and normalised as the
    weights' own transforms do with such tensors. (On uint8 images those round once more after
    resizing.)

    Args:
        device: Where to compute.
        model: A classification network, such as "resnet50" or "vit_b_16".
        layer: Name of the module whose output becomes the row, such as "layer3.5"; a map is
            averaged over space. Unless given, the input of the last linear layer.
        weights: "DEFAULT" or another name that torchvision has for this model, such as
            "IMAGENET1K_V1": found or fetched once. Or the path to a .safetensors or .pth file of
            this model, with ``weights_sha256``. Or "random".
        weights_sha256: sha256 of that file.
        seed: Of random weights.

    Raises:
        UnknownIdError, UsageError: no such model, weights or layer, or a layer whose output is
            no row or map.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    entries = _weights_of(model)
    entry, network, sha256 = _network(model, entries, weights, weights_sha256, seed)
    tap = _Tap(network.float(), layer, model, device)
    transforms = entry.transforms()
    side = transforms.crop_size[0]
    named = weights in entries.__members__
    extractor = NetworkExtractor(
        tap,
        lambda images: transforms(images.float() / 255),
        device,
        _width(tap, side, device, model),
        {
            "network": f"torchvision {model}",
            "weights": sha256,
            "layer": tap.described,
            "input": " ".join(repr(transforms).split()),
        },
        side=side,
        classes=tuple(entry.meta.get("categories", ())) if named else (),
    )
    tap.with_logits = bool(extractor.classes)
    return extractor


class _Tap:
    """A network that hands out a layer's values beside its own output."""

    def __init__(
        self, network: nn.Module, layer: str | None, model: str, device: str | torch.device
    ) -> None:
        self._network = channels_last(network, device)
        self._seen: Tensor | None = None
        self._channels_last = False
        self.with_logits = False
        if layer is None:
            name, module = _last_linear(network, model)
            self.described = f"input of {name}"
            module.register_forward_pre_hook(lambda _, given: self._see(given[0]))
        else:
            self.described = layer
            self._channels_last = _is_channels_last(network, layer)
            _named(network, layer, model).register_forward_hook(
                lambda _, given, found: self._see(found)
            )

    def __call__(self, images: Tensor) -> Extracted:
        self._seen = None
        logits = self._network(images)
        if self._seen is None:
            raise UsageError(f"torchvision: {self.described} takes no part in the network's output")
        return Extracted(self._row(self._seen), logits if self.with_logits else None)

    def _see(self, values: Any) -> None:
        self._seen = values

    def _row(self, values: Any) -> Tensor:
        if isinstance(values, Tensor) and values.dim() == 2:
            return values
        if isinstance(values, Tensor) and values.dim() == 4:
            return values.mean((1, 2) if self._channels_last else (2, 3))
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UsageError(
            f"torchvision: {self.described} gives {found}; expected rows [B, d] or maps "
            "[B, C, H, W]: choose another layer"
        )


def _weights_of(model: str) -> Any:
    """The enumeration of a model's weights."""
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise UnknownIdError("torchvision model", model, known)
    return models.get_model_weights(model)


def _network(
    model: str, entries: Any, weights: str, weights_sha256: str | None, seed: int
) -> tuple[Any, nn.Module, str]:
    """The entry whose transforms hold, the network, and the sha256 of its weights."""
    from torchvision import models

    if weights == RANDOM:
        if weights_sha256 is not None:
            raise UsageError("torchvision: weights_sha256 is of a file; random weights have none")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: nn.Module = models.get_model(model, weights=None, **_plain(model))
        return entries.DEFAULT, made, state_digest(made.state_dict())
    if weights in entries.__members__:
        entry = entries[weights]
        if weights_sha256 is not None:
            raise UsageError("torchvision: weights_sha256 needs weights, the path of a file")
        path, sha256 = locate(f"torchvision {model}", _published(entry))
    else:
        entry = entries.DEFAULT
        path, sha256 = _own_file(model, entries, weights, weights_sha256)
    return entry, _build(model, entry, load_state(path, sha256)), sha256


def _plain(model: str) -> dict[str, bool]:
    """What some builders want to be told, and warn of otherwise."""
    return {"init_weights": True} if model in ("googlenet", "inception_v3") else {}


def _published(entry: Any) -> Published:
    filename = entry.url.rpartition("/")[2]
    named = _NAMED_SUM.search(filename)
    if named is None:
        raise WeightsError(
            f"torchvision: the name {filename} carries no hash to check; fetch {entry.url} "
            "yourself and pass its path as weights, with weights_sha256"
        )
    return Published(filename, named[1], entry.url)


def _own_file(
    model: str, entries: Any, weights: str, weights_sha256: str | None
) -> tuple[Path, str]:
    if not Path(weights).expanduser().is_file():
        raise UsageError(
            f"torchvision: weights {weights!r} is neither a file nor a name of {model}'s weights; "
            f"known: {', '.join(entries.__members__)}, {RANDOM}"
        )
    if weights_sha256 is None:
        raise UsageError(f"torchvision: weights {weights!r} needs its sha256 as weights_sha256")
    nowhere = Published(Path(weights).name, weights_sha256, "")
    return locate(f"torchvision {model}", nowhere, weights, weights_sha256)


def _build(model: str, entry: Any, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's network as it builds it for these weights, holding this state."""
    from torchvision import models
    from torchvision.models import WeightsEnum

    # The builder fetches and reads the weights itself; we answer with what we have checked.
    answer = mock.patch.object(WeightsEnum, "get_state_dict", return_value=state)
    try:
        with answer, torch.random.fork_rng(devices=[]):
            network: nn.Module = models.get_model(model, weights=entry)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"these weights are not {model}'s: {error}") from error
    return network


def _last_linear(network: nn.Module, model: str) -> tuple[str, nn.Module]:
    linear = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise UsageError(
            f"torchvision: {model} has no linear layer; name the layer: {_outline(network)}"
        )
    return linear[-1]


def _named(network: nn.Module, layer: str, model: str) -> nn.Module:
    modules = dict(network.named_modules())
    if not layer or layer not in modules:
        raise UsageError(
            f"torchvision: {model} has no layer {layer!r}; it has {_outline(network)}, and theirs"
        )
    named: nn.Module = modules[layer]
    return named


def _outline(network: nn.Module) -> str:
    return ", ".join(name for name, _ in network.named_children())


def _is_channels_last(network: nn.Module, layer: str) -> bool:
    """Whether the maps at this layer are ``[B, H, W, C]``, as within Swin transformers."""
    from torchvision.models import SwinTransformer

    return isinstance(network, SwinTransformer) and layer.partition(".")[0] in ("features", "norm")


def _width(tap: _Tap, side: int, device: str | torch.device, model: str) -> int:
    """The width of a row, found by passing one black image."""
    try:
        with torch.inference_mode():
            return tap(torch.zeros(1, 3, side, side, device=device)).features.shape[1]
    except RuntimeError as error:
        raise WeightsError(f"torchvision: {model} cannot take {side} x {side}: {error}") from error
