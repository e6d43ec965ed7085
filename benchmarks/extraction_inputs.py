"""What the extraction benchmark works on: two folders of images, and Inception's weights."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn

SIDES = ("real", "fake")
SUFFIXES = (".jpg", ".jpeg", ".png")
TORCHSCRIPT = "inception-2015-12-05.pt"
"""What clean-fid calls its file."""


@dataclass(frozen=True)
class Inputs:
    """What ``write_inputs`` wrote."""

    folder: Path

    @property
    def real(self) -> Path:
        return self.folder / "real"

    @property
    def fake(self) -> Path:
        return self.folder / "fake"

    @property
    def weights(self) -> Path:
        """A state dict, as torch-fidelity, pytorch-fid, torchmetrics and benchgen read it."""
        return self.folder / "random.pth"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()

    @cached_property
    def n(self) -> int:
        """Images on each side."""
        return len(list_images(self.real))


def list_images(folder: Path) -> list[Path]:
    """The image files that lie in a folder, by name."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file())


def write_inputs(folder: Path, n: int, images: Sequence[Path] | None) -> None:
    """Write the weights, and ``n`` images a side: made, or the first of two folders."""
    write_images(folder, n, images)
    _write_weights(Inputs(folder).weights, folder / TORCHSCRIPT)


def write_images(folder: Path, n: int, images: Sequence[Path] | None) -> None:
    """The images alone."""
    for side, name in enumerate(SIDES):
        (folder / name).mkdir()
        if images is None:
            _write_pictures(folder / name, n, seed=1 + side)
            continue
        for number, path in enumerate(list_images(images[side])[:n]):
            shutil.copyfile(path, folder / name / f"{number:06d}{path.suffix.lower()}")


def pictures(n: int, side: int, seed: int) -> Tensor:
    """Smooth noise, uint8 ``[n, 3, side, side]``; sides differ in how smooth it is."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, 3 + 2 * seed, 3 + 2 * seed, generator=generator)
    large = nn.functional.interpolate(small, (side, side), mode="bicubic")
    return (255 * large).clamp(0, 255).round().to(torch.uint8)


def random_network() -> Any:
    """torch-fidelity's own Inception with random weights, the same each time."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    kind = module.FeatureExtractorInceptionV3
    with (
        torch.random.fork_rng(devices=[]),
        mock.patch.object(module, "load_state_dict_from_url", return_value={}),
        mock.patch.object(kind, "load_state_dict"),
    ):
        torch.manual_seed(0)
        network = kind("inception-v3-compat", ["2048", "logits_unbiased"])
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
            elif isinstance(part, nn.BatchNorm2d):
                _vary(part)
    return network


def trunk(network: Any) -> nn.Sequential:
    """All of Inception but the resizing before and the classifier after: the 2048 features."""
    parts = [part for name, part in network.named_children() if name != "fc"]
    return nn.Sequential(*parts, nn.Flatten())


def _vary(norm: nn.BatchNorm2d) -> None:
    """Give a batch norm something to do, so that folding it wrongly would show."""
    nn.init.uniform_(norm.weight, 0.8, 1.2)
    nn.init.normal_(norm.bias, std=0.1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean, std=0.1)
    nn.init.uniform_(norm.running_var, 0.8, 1.2)


def _write_pictures(folder: Path, n: int, seed: int) -> None:
    for number, picture in enumerate(pictures(n, 32, seed)):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        image.save(folder / f"{number:06d}.jpg", quality=90)


class _Layers(nn.Module):
    """Laid out as the TorchScript file that clean-fid reads."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


def _write_weights(weights: Path, torchscript: Path) -> None:
    network = random_network()
    torch.save(network.state_dict(), weights)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch gives TorchScript up, by and by
        traced = torch.jit.trace(_Layers(trunk(network)), torch.zeros(2, 3, 299, 299))  # type: ignore[no-untyped-call]
    traced.save(str(torchscript))
