"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193): its class token, for images of 224 x 224."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchgen.errors import WeightsError
from benchgen.features.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Input,
    NetworkExtractor,
    features_only,
    made_when_needed,
)
from benchgen.features.weights import Published, load_state, locate
from benchgen.images.resize import Rule

_SIDE = 224
_PATCH = 14
_TRAINED_GRID = 37  # patches along the side of the 518 pixels that it was trained for
_HEAD = 64


@dataclass(frozen=True)
class Size:
    """One of the published networks.

    Attributes:
        letter: In its name.
        d: Width of a token.
        depth: Blocks.
        gated: Whether its blocks have a SwiGLU instead of a plain perceptron.
        sha256: Of the published weights. Their publisher names none; these are the sums that
            independent users of the same URL record.
    """

    letter: str
    d: int
    depth: int
    gated: bool
    sha256: str

    @property
    def published(self) -> Published:
        name = f"dinov2_vit{self.letter}14"
        url = f"https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth"
        return Published(f"{name}_pretrain.pth", self.sha256, url)


_S = Size("s", 384, 12, False, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9")
_B = Size("b", 768, 12, False, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73")
_L = Size("l", 1024, 24, False, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428")
_G = Size("g", 1536, 40, True, "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3")
SIZES = {size.letter: size for size in (_S, _B, _L, _G)}


def load(
    device: str | torch.device,
    size: str,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
) -> NetworkExtractor:
    """A ``dinov2-vit-*-14`` extractor: the normalised class token.

    Args:
        device: Where to compute.
        size: "s", "b", "l" or "g": 384, 768, 1,024 or 1,536 features.
        weights: Path to the weights; the published ones (88 MB to 4.5 GB) are found or fetched
            otherwise.
        weights_sha256: Allows weights other than the published ones, by naming their sha256.
        resize: How images come to 224 x 224. "tf1" is torch-fidelity's rule; dgm-eval's is
            "pillow-bicubic". Scores of the two do not compare.

    Raises:
        UsageError: no such resize rule, or a sha256 without weights.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    kind = SIZES[size]
    name = f"dinov2-vit-{size}-14"
    prepare = Input.of(_SIDE, resize, IMAGENET_MEAN, IMAGENET_STD)
    path, sha256 = locate(name, kind.published, weights, weights_sha256)
    network = made_when_needed(
        lambda: build(kind, load_state(path, sha256)).to(device).eval(),
        at_once=weights_sha256 is not None,
    )
    return NetworkExtractor(
        features_only(network),
        prepare,
        device,
        kind.d,
        {"network": name, "weights": sha256, "layer": "class token", **prepare.fingerprint},
        side=_SIDE,
    )


# One for each spec.
load_s = partial(load, size="s")
load_b = partial(load, size="b")
load_l = partial(load, size="l")
load_g = partial(load, size="g")


def build(kind: Size, state: dict[str, Tensor]) -> nn.Module:
    """The network with these weights.

    Its authors' code comes by torch hub, from a branch that may change: that is code which nobody
    has checked. So the network is written out below, with the names of their weights.

    Raises:
        WeightsError: They are another network's.
    """
    with torch.device("meta"):
        network = VisionTransformer(kind.d, kind.depth, kind.gated)
    needed = {name: value for name, value in state.items() if name != "mask_token"}
    try:
        network.load_state_dict(needed, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"these weights are not DINOv2 ViT-{kind.letter}/14's: {error}"
        ) from error
    return network.float().requires_grad_(False)


class VisionTransformer(nn.Module):
    """Patches of 14 pixels and a class token through pre-norm blocks with layer scale."""

    def __init__(self, d: int, depth: int, gated: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, d))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + _TRAINED_GRID**2, d))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, d, _PATCH, _PATCH)})
        self.blocks = nn.ModuleList(_Block(d, gated) for _ in range(depth))
        self.norm = nn.LayerNorm(d, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """float32 ``[B, 3, 14 h, 14 w]`` to the class token ``[B, d]``."""
        patches = self.patch_embed["proj"](images)
        places = self._places(patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], dim=1) + places
        for block in self.blocks:
            tokens = block(tokens)
        row: Tensor = self.norm(tokens[:, 0])
        return row

    def _places(self, height: int, width: int) -> Tensor:
        """Position embeddings of a grid, interpolated from the grid of training."""
        if height == width == _TRAINED_GRID:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].view(1, _TRAINED_GRID, _TRAINED_GRID, -1)
        # A tenth of a patch more, as the authors have it: it decides where the samples lie.
        factors = ((height + 0.1) / _TRAINED_GRID, (width + 0.1) / _TRAINED_GRID)
        resized = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=factors, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class _Block(nn.Module):
    def __init__(self, d: int, gated: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d, eps=1e-6)
        self.attn = _Attention(d)
        self.ls1 = _LayerScale(d)
        self.norm2 = nn.LayerNorm(d, eps=1e-6)
        self.mlp = _GatedPerceptron(d) if gated else _Perceptron(d)
        self.ls2 = _LayerScale(d)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        passed: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return passed


class _Attention(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.qkv(tokens).view(*tokens.shape[:2], 3, -1, _HEAD).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        found: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return found


class _Perceptron(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d, 4 * d)
        self.fc2 = nn.Linear(4 * d, d)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return found


class _GatedPerceptron(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        hidden = (4 * d * 2 // 3 + 7) // 8 * 8
        self.w12 = nn.Linear(d, 2 * hidden)
        self.w3 = nn.Linear(hidden, d)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        found: Tensor = self.w3(F.silu(gate) * value)
        return found


class _LayerScale(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(d))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma
