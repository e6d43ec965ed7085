import hashlib
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torchvision import models

from benchgen.errors import UnknownIdError, UsageError, WeightsError
from benchgen.features import torchvision_models
from benchgen.features.weights import Published
from tests.features.pictures import photos, relative_error

Weights = tuple[Path, str]
MODEL = "resnet18"


@pytest.fixture(scope="module")
def network() -> Any:
    """torchvision's own network with random weights."""
    torch.manual_seed(1)
    return models.resnet18().eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = tmp_path_factory.mktemp("resnet18") / "mine.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def load(weights: Weights, **parameters: Any) -> Any:
    return torchvision_models.load("cpu", MODEL, None, str(weights[0]), weights[1], **parameters)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 400), (9, 40)])
def test_rows_are_the_input_of_the_last_linear_layer(
    network: Any, weights: Weights, height: int, width: int
) -> None:
    images = photos(3, height, width)
    extractor = load(weights)
    found = extractor(images)
    assert (extractor.d, extractor.classes) == (512, ())
    assert found.logits is None
    prepared = models.ResNet18_Weights.DEFAULT.transforms()(images.float() / 255)
    with torch.no_grad():
        seen: dict[str, torch.Tensor] = {}
        hook = network.avgpool.register_forward_hook(lambda m, i, o: seen.update(rows=o.flatten(1)))
        network(prepared)
        hook.remove()
    assert found.features.shape == (3, 512)
    assert relative_error(found.features, seen["rows"]) < 1e-5
    assert extractor.fingerprint["layer"] == "input of fc"
    assert extractor.fingerprint["weights"] == weights[1]
    assert "crop_size=[224]" in extractor.fingerprint["input"]


def test_preparation_is_that_of_the_weights_to_half_a_grey_level(weights: Weights) -> None:
    images = photos(2, 300, 400)
    transforms = models.ResNet18_Weights.DEFAULT.transforms()
    prepared = load(weights)._prepare(images)
    assert float((prepared - transforms(images)).abs().max()) < 0.51 / 255 / 0.224


def test_published_weights_come_with_logits_and_class_names(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "resnet18-f37072fd.pth"
    torch.save(network.state_dict(), path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"{path.name} has sha256 {found}"):
        torchvision_models.load("cpu", MODEL)
    published = Published(path.name, found[:8], "file:///absent")
    monkeypatch.setattr(torchvision_models, "_published", lambda entry: published)
    entry = models.ResNet18_Weights.DEFAULT
    extractor = torchvision_models.load("cpu", MODEL)
    assert extractor.fingerprint["weights"] == found
    assert len(set(extractor.classes)) == 1000
    images = photos(2, 64, 64)
    extracted = extractor(images)
    with torch.no_grad():
        expected = network(entry.transforms()(images.float() / 255))
    assert extracted.logits is not None
    assert relative_error(extracted.logits, expected) < 1e-5


def test_every_published_file_carries_its_hash() -> None:
    for model in models.list_models(module=models):
        for entry in models.get_model_weights(model):
            published = torchvision_models._published(entry)
            assert published.filename.endswith(f"-{published.sha256}.pth")


@pytest.mark.parametrize(
    ("model", "layer", "d"),
    [
        ("resnet18", "layer3.1", 256),
        ("resnet18", "avgpool", 512),
        ("resnet18", "fc", 1000),
        ("squeezenet1_1", "features", 512),
        ("swin_t", "features.1", 96),
        ("swin_t", "permute", 768),
    ],
)
def test_any_layer_by_its_name(model: str, layer: str, d: int) -> None:
    extractor = torchvision_models.load("cpu", model, layer, "random")
    assert extractor.d == d
    assert extractor(photos(2, 20, 20)).features.shape == (2, d)
    assert extractor.fingerprint["layer"] == layer


def test_random_weights_are_the_seeds(network: Any) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        torchvision_models.load("cpu", MODEL, weights="random", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint["weights"] != other.fingerprint["weights"]
    images = photos(2, 32, 32)
    assert torch.equal(first(images).features, again(images).features)
    assert first.classes == ()


def test_rows_come_in_order_over_pieces(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = load(weights)
    images = photos(5, 32, 32)
    whole = extractor(images).features
    monkeypatch.setattr("benchgen.features.network._MOST_IMAGES", 2)
    assert relative_error(extractor(images).features, whole) < 1e-5


def test_what_is_not_there_is_named(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(UnknownIdError, match="did you mean resnet50"):
        torchvision_models.load("cpu", "resnet5O")
    with pytest.raises(UsageError, match="no layer 'layer9'; it has conv1, bn1"):
        torchvision_models.load("cpu", MODEL, "layer9", "random")
    with pytest.raises(UsageError, match="no linear layer; name the layer: features, classifier"):
        torchvision_models.load("cpu", "squeezenet1_1", weights="random")
    with pytest.raises(UsageError, match="known: IMAGENET1K_V1, DEFAULT, random"):
        torchvision_models.load("cpu", MODEL, weights="IMAGENET1K_V9")
    with pytest.raises(UsageError, match="needs its sha256 as weights_sha256"):
        torchvision_models.load("cpu", MODEL, weights=str(weights[0]))
    with pytest.raises(UsageError, match="random weights have none"):
        torchvision_models.load("cpu", MODEL, weights="random", weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected 0000"):
        torchvision_models.load("cpu", MODEL, None, str(weights[0]), "0" * 64)
    with pytest.raises(WeightsError, match="these weights are not resnet34's"):
        torchvision_models.load("cpu", "resnet34", None, str(weights[0]), weights[1])
    with pytest.raises(UsageError, match=r"encoder gives \(1, 50, 768\)"):
        torchvision_models.load("cpu", "vit_b_32", "encoder", "random")
