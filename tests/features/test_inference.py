from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from benchgen.features.inference import for_inference

PACKED = "_PackedConvolution"

onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch lacks oneDNN")


class Branching(nn.Module):
    """Control flow that depends on the data, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.bn(self.conv(x))
        return made if bool(x.sum() > 0) else -made


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                assert values is not None
                values.normal_(generator=generator)
            assert part.running_var is not None
            part.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("make", [plain, Branching])
def test_the_output_stays_the_same(make: type[nn.Module]) -> None:
    network = lived_in(make())
    images = torch.randn(3, 3, 20, 20)
    before = network(images)
    ready = for_inference(network, images[:1], "cpu")
    torch.testing.assert_close(ready(images), before, rtol=1e-5, atol=1e-5)
    channels_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ready(channels_last), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(images), before)


def test_batch_norms_are_gone_where_they_can_be_folded() -> None:
    def norms(network: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())

    example = torch.randn(1, 3, 9, 9)
    assert norms(for_inference(lived_in(plain()), example, "cpu")) == 0
    assert norms(for_inference(lived_in(Branching()), example, "cpu")) == 1


class Pooling(nn.Module):
    """Averages before convolutions: that may change places with them, and that may not."""

    def __init__(self, padded: bool = False, kernel: int = 1, wider: bool = False) -> None:
        super().__init__()
        self.padded = padded
        self.first = nn.Conv2d(3, 6, 3)
        self.second = nn.Conv2d(6, 8 if wider else 4, kernel)
        self.norm = nn.BatchNorm2d(self.second.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        made = F.relu(self.first(x), inplace=True)
        made = F.avg_pool2d(made, kernel_size=3, stride=1, padding=1, count_include_pad=self.padded)
        return F.relu(self.norm(self.second(made)), inplace=True)


class Residual(nn.Module):
    """A value that goes to a ReLU and, without it, elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.norm(self.first(x))
        made: Tensor = self.second(torch.relu(once)) + once
        return made


def calls(network: nn.Module) -> list[str]:
    assert isinstance(network, fx.GraphModule)
    parts = dict(network.named_modules())
    return [
        type(parts[node.target]).__name__ if node.op == "call_module" else node.target.__name__
        for node in network.graph.nodes
        if node.op.startswith("call")
    ]


@onednn
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (plain(), [PACKED, PACKED]),
        (Pooling(), [PACKED, PACKED, "avg_pool2d", "relu"]),
        (Pooling(padded=True), [PACKED, "avg_pool2d", PACKED]),
        (Pooling(kernel=3), [PACKED, "avg_pool2d", PACKED]),
        (Pooling(wider=True), [PACKED, "avg_pool2d", PACKED]),
    ],
)
def test_a_convolution_and_its_relu_are_one_call(network: nn.Module, expected: list[str]) -> None:
    network = lived_in(network)
    images = torch.randn(3, 3, 20, 20)
    ready = for_inference(network, images[:1], "cpu")
    assert calls(ready) == expected
    with torch.inference_mode():
        torch.testing.assert_close(ready(images), network(images), rtol=1e-5, atol=1e-5)
        other = torch.randn(2, 3, 31, 17).to(memory_format=torch.channels_last)
        torch.testing.assert_close(ready(other), network(other), rtol=1e-5, atol=1e-5)


@onednn
def test_a_value_that_is_wanted_before_its_relu_stays() -> None:
    network = lived_in(Residual())
    images = torch.randn(3, 3, 20, 20)
    with torch.inference_mode():
        ready = for_inference(network, images[:1], "cpu")
        torch.testing.assert_close(ready(images), network(images), rtol=1e-5, atol=1e-5)
    assert calls(ready) == [PACKED, "relu", PACKED, "add"]


def test_autocast_reaches_the_convolutions() -> None:
    images = torch.randn(2, 3, 20, 20)
    ready = for_inference(lived_in(plain()), images, "cpu", autocast=True)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert ready(images).dtype == torch.bfloat16


@pytest.mark.parametrize("missing", ["_reorder_convolution_weight", "_convolution_pointwise"])
def test_a_torch_that_cannot_pack_does_without(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def gone(*_: object) -> Tensor:
        raise AttributeError(missing)

    monkeypatch.setattr(torch.ops.mkldnn, missing, gone)
    network, images = lived_in(plain()), torch.randn(3, 3, 20, 20)
    ready = for_inference(network, images[:1], "cpu")
    assert PACKED not in calls(ready)
    torch.testing.assert_close(ready(images), network(images), rtol=1e-5, atol=1e-5)


@onednn
def test_packing_that_moves_the_output_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = torch.ops.mkldnn._reorder_convolution_weight
    monkeypatch.setattr(
        torch.ops.mkldnn,
        "_reorder_convolution_weight",
        lambda weight, *how: pack(1.01 * weight, *how),
    )
    network, images = lived_in(plain()), torch.randn(3, 3, 20, 20)
    assert PACKED not in calls(for_inference(network, images[:1], "cpu"))
