import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.errors import WeightsError
from benchgen.features import dinov2
from benchgen.images.resize import resize
from tests.features.pictures import photos, relative_error, saved
from tests.features.test_weights import Trap

Weights = tuple[Path, str]

# Narrow networks of the published form, so that the tests are quick.
SMALL = {
    "s": dinov2.Size("s", 128, 3, False, "0" * 64),
    "g": dinov2.Size("g", 192, 2, True, "0" * 64),
}


def random_state(kind: dinov2.Size) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = dinov2.VisionTransformer(kind.d, kind.depth, kind.gated).state_dict()
    state = {}
    for name, value in shapes.items():
        scale = 0.5 if value.dim() == 1 or "embed" in name else 1 / math.sqrt(value[0].numel())
        state[name] = scale * torch.randn(value.shape)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
            state[name] += 1
    return {**state, "mask_token": torch.zeros(1, kind.d)}


@pytest.fixture(params=["s", "g"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dinov2.Size:
    small = SMALL[request.param]
    monkeypatch.setitem(dinov2.SIZES, small.letter, small)
    return small


@pytest.fixture
def weights(kind: dinov2.Size, tmp_path: Path) -> Weights:
    return saved(random_state(kind), tmp_path / "w.pth")


def reference(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published network in plain steps: normalised 224 x 224 images to class tokens."""
    d = state["norm.weight"].numel()
    patches = F.conv2d(
        images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14
    )
    b, _, h, w = patches.shape
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, d).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid, scale_factor=(float((h + 0.1) / 37.0), float((w + 0.1) / 37.0)), mode="bicubic"
    )
    assert grid.shape == (1, d, h, w)
    places = torch.cat([state["pos_embed"][:, 0][None], grid.flatten(2).permute(0, 2, 1)], 1)
    x = torch.cat([state["cls_token"].expand(b, 1, d), patches.flatten(2).permute(0, 2, 1)], 1)
    x = x + places

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return unit * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    depth = len([name for name in state if name.endswith("qkv.weight")])
    for block in (f"blocks.{i}" for i in range(depth)):
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).chunk(3, -1)
        heads = []
        for at in range(0, d, 64):
            part = slice(at, at + 64)
            shares = (q[..., part] @ k[..., part].transpose(1, 2) / 8).softmax(-1)
            heads.append(shares @ v[..., part])
        x = x + linear(f"{block}.attn.proj", torch.cat(heads, -1)) * state[f"{block}.ls1.gamma"]
        y = norm(f"{block}.norm2", x)
        if f"{block}.mlp.w12.weight" in state:
            gate, value = linear(f"{block}.mlp.w12", y).chunk(2, -1)
            y = linear(f"{block}.mlp.w3", gate * gate.sigmoid() * value)
        else:
            y = linear(f"{block}.mlp.fc1", y)
            y = linear(f"{block}.mlp.fc2", y * 0.5 * (1 + torch.erf(y / math.sqrt(2))))
        x = x + y * state[f"{block}.ls2.gamma"]
    return norm("norm", x)[:, 0]


def normalised(images: Tensor) -> Tensor:
    mean = 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = 255 * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images - mean) / std


def test_the_network_is_the_published_one(kind: dinov2.Size, weights: Weights) -> None:
    images = photos(3, 50, 70)
    extractor = dinov2.load("cpu", kind.letter, *weights)
    found = extractor(images)
    assert found.logits is None
    assert found.features.shape == (3, extractor.d) == (3, kind.d)
    expected = reference(random_state(kind), normalised(resize(images, 224, "tf1")))
    assert relative_error(found.features, expected) < 1e-5


def test_tf1_equals_torch_fidelity_around_the_same_network(
    kind: dinov2.Size, weights: Weights
) -> None:
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    state = random_state(kind)

    class Network(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return reference(state, images)

    with mock.patch.object(torch.hub, "load", return_value=Network()):
        oracle: Any = FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])
    images = photos(2, 240, 230)
    with torch.no_grad():
        (expected,) = oracle(images)
    found = dinov2.load("cpu", kind.letter, *weights)(images).features
    assert relative_error(found, expected) < 1e-5


def test_the_published_sizes_have_the_widths_of_the_paper() -> None:
    with torch.device("meta"):
        made = {
            letter: dinov2.VisionTransformer(size.d, size.depth, size.gated)
            for letter, size in dinov2.SIZES.items()
        }
    millions = {
        letter: round(sum(p.numel() for p in network.parameters()) / 1e6)
        for letter, network in made.items()
    }
    assert millions == {"s": 22, "b": 87, "l": 304, "g": 1136}
    assert {letter: size.d for letter, size in dinov2.SIZES.items()} == {
        "s": 384,
        "b": 768,
        "l": 1024,
        "g": 1536,
    }


def test_each_size_has_its_own_published_file() -> None:
    files = [size.published for size in dinov2.SIZES.values()]
    assert len({file.sha256 for file in files}) == len({file.url for file in files}) == 4
    assert all(len(file.sha256) == 64 for file in files)
    with pytest.raises(WeightsError, match=r"dinov2_vitl14_pretrain\.pth \(sha256 d5383ea8"):
        dinov2.load_l("cpu")


def test_code_in_weights_is_never_run(kind: dinov2.Size, tmp_path: Path) -> None:
    path, sha256 = saved({"a": Trap(tmp_path / "sprung")}, tmp_path / "w.pth")  # type: ignore[dict-item]
    with pytest.raises(WeightsError, match="expected 0000"):
        dinov2.load("cpu", kind.letter, path)
    with pytest.raises(WeightsError, match="holds no plain weights"):
        dinov2.load("cpu", kind.letter, path, sha256)
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_size(kind: dinov2.Size, tmp_path: Path) -> None:
    other = saved(random_state(replace(kind, d=64)), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"are not DINOv2 ViT-{kind.letter}/14's"):
        dinov2.load("cpu", kind.letter, *other)
