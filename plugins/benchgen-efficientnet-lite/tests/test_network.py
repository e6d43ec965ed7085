import pytest
import torch
import torch.nn.functional as F
from benchgen_efficientnet_lite.network import EfficientNetLite0, _same_padding, _SameConvolution


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0().eval()


def test_it_has_as_many_parameters_as_published(network: EfficientNetLite0) -> None:
    # 4.7 million, says the publication; counted there to the unit: 4,652,008.
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


@torch.inference_mode()
def test_shapes(network: EfficientNetLite0) -> None:
    features, logits = network(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, 1280)
    assert logits.shape == (2, 1000)
    # ReLU6, averaged.
    assert features.min() >= 0
    assert features.max() <= 6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("side", [5, 6, 7, 8])
def test_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    before, after = _same_padding(side, kernel, stride)
    # "same": ceil(side / stride) outputs, and the odd cell of padding comes last.
    assert after - before in (0, 1)
    assert (side + before + after - kernel) // stride + 1 == -(-side // stride)
    layer = _SameConvolution(1, 1, kernel, stride)
    images = torch.randn(1, 1, side, side)
    padded = F.pad(images, [before, after, before, after])
    expected = F.conv2d(padded, layer.weight, stride=stride)
    torch.testing.assert_close(layer(images), expected)
