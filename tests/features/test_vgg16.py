import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from benchgen.errors import UsageError, WeightsError
from benchgen.features import vgg16
from tests.features.pictures import photos, relative_error, saved

Weights = tuple[Path, str]


def random_state() -> dict[str, Tensor]:
    """He-normal weights; the large matrices share their values, which keeps the file small."""
    from torchvision.models import vgg16 as build

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in build().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        if name.startswith("classifier") and len(shape) == 2:
            values = torch.randn(sum(shape)) * math.sqrt(2 / shape[1])
            state[name] = values.as_strided(shape, (1, 1))
        elif len(shape) == 1:
            state[name] = 0.1 * torch.randn(shape)
        else:
            state[name] = torch.randn(shape) * math.sqrt(2 / shape[1:].numel())
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    torch.manual_seed(0)
    return saved(random_state(), tmp_path_factory.mktemp("vgg16") / "w.pth")


@pytest.fixture(scope="module")
def oracle(weights: Weights) -> Any:
    """torch-fidelity's own extractor with these weights."""
    import torchvision
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    with torch.device("meta"):
        network = torchvision.models.vgg16()
    answer = mock.patch.object(torchvision.models, "vgg16", return_value=network)
    assigning = mock.patch.object(
        network,
        "load_state_dict",
        lambda state: torch.nn.Module.load_state_dict(network, state, assign=True),
    )
    with answer, assigning:
        return FeatureExtractorVGG16("vgg16", ["fc2", "fc2_relu"], str(weights[0]))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (250, 301)])
def test_tf1_equals_torch_fidelity(weights: Weights, oracle: Any, height: int, width: int) -> None:
    images = photos(2, height, width)
    with torch.no_grad():
        fc2, fc2_relu = oracle(images)
    found = vgg16.load("cpu", *weights)(images)
    assert found.logits is None
    assert found.features.shape == (2, 4096)
    assert relative_error(found.features, fc2_relu) < 1e-5
    before = vgg16.load("cpu", *weights, layer="fc2")(images).features
    assert before.min() < 0
    assert relative_error(before, fc2) < 1e-5


def test_what_it_says_of_itself(weights: Weights) -> None:
    extractor = vgg16.load("cpu", *weights)
    assert (extractor.d, extractor.classes) == (4096, ())
    fingerprint = dict(extractor.fingerprint)
    assert "123.675" in fingerprint.pop("normalisation")
    assert fingerprint == {
        "network": "vgg16",
        "weights": weights[1],
        "layer": "fc2_relu",
        "resize": "tf1 to 224",
        "arithmetic": "float32",
    }
    clean = vgg16.load("cpu", *weights, resize="clean")
    assert clean.fingerprint["resize"] == "clean to 224"
    images = photos(1, 32, 32)
    assert not torch.allclose(clean(images).features, extractor(images).features)


def test_bad_arguments_and_weights(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known: fc2_relu, fc2"):
        vgg16.load("cpu", *weights, layer="fc1")
    with pytest.raises(UsageError, match="no resize rule"):
        vgg16.load("cpu", *weights, resize="lanczos")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=vgg16.PUBLISHED.sha256):
        vgg16.load("cpu", weights[0])
    with pytest.raises(WeightsError, match=vgg16.PUBLISHED.url):
        vgg16.load("cpu")
    other = saved({"a": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="are not VGG16's"):
        vgg16.load("cpu", *other)


def test_the_published_name_carries_the_hash() -> None:
    assert vgg16.PUBLISHED.filename == f"vgg16-{vgg16.PUBLISHED.sha256[:8]}.pth"
    from torchvision.models import VGG16_Weights

    assert VGG16_Weights.IMAGENET1K_V1.url == vgg16.PUBLISHED.url
