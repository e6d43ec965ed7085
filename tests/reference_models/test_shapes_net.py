"""The network that reads shapes: what it reads, what its features keep, how it is trained."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from reference_models import shapes_net
from reference_models.shapes import CATEGORICAL, RANGES, SHAPES, Factors, sample
from reference_models.shapes_net import (
    FEATURE_WIDTH,
    WEIGHTS,
    Reading,
    ShapesNet,
    load_shapes_net,
    main,
    mistakes,
    read_factors,
    spoil,
    train_shapes_net,
)

SEED, COUNT = 11, 3000


@pytest.fixture(scope="module")
def net() -> ShapesNet:
    return load_shapes_net()


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, Factors]:
    return sample(SEED, range(COUNT))


@pytest.fixture(scope="module")
def read(net: ShapesNet, drawn: tuple[Tensor, Factors]) -> Reading:
    return read_factors(net, drawn[0])


@pytest.fixture
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_the_network_is_small_and_its_weights_are_half_precision() -> None:
    assert sum(parameter.numel() for parameter in ShapesNet().parameters()) <= 400_000
    with safe_open(WEIGHTS, framework="pt") as weights:
        stored = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118
    assert {one.dtype for one in stored if one.numel() > 1} == {torch.float16}


def test_factors_are_recovered_from_images(read: Reading, drawn: tuple[Tensor, Factors]) -> None:
    off = {name: column.mean().item() for name, column in mistakes(read.factors, drawn[1]).items()}
    for name in CATEGORICAL:
        assert off[name] <= 0.005, name
    for name, most in (("size", 0.2), ("x", 0.25), ("y", 0.25), ("lightness", 0.1)):
        assert off[name] <= most, name
    assert off["rotation"] <= math.radians(3)


def test_probabilities_are_those_of_the_factors_read(read: Reading) -> None:
    for name, values in CATEGORICAL.items():
        shares = read.probabilities[name]
        assert shares.shape == (COUNT, len(values))
        assert torch.allclose(shares.sum(dim=1), torch.ones(COUNT), atol=1e-5)
        assert torch.equal(shares.argmax(dim=1), getattr(read.factors, name))
    for name, (low, high) in RANGES.items():
        column = getattr(read.factors, name)
        assert column.dtype == torch.float32
        assert low <= column.min() <= column.max() <= high


def test_a_reading_does_not_depend_on_the_batch(
    net: ShapesNet, read: Reading, drawn: tuple[Tensor, Factors]
) -> None:
    part = read_factors(net, drawn[0][100:107], batch_size=3)
    for name in CATEGORICAL:
        there = read.probabilities[name][100:107]
        assert torch.allclose(part.probabilities[name], there, atol=1e-5)
    assert torch.allclose(part.factors.x, read.factors.x[100:107], atol=1e-4)


def test_imperfect_images_are_read_too(
    net: ShapesNet, drawn: tuple[Tensor, Factors], seeded: None
) -> None:
    spoilt = spoil(drawn[0].float() / 255)[0].mul(255).round().to(torch.uint8)
    off = mistakes(read_factors(net, spoilt).factors, drawn[1])
    for name in CATEGORICAL:
        assert off[name].mean() <= 0.02, name


def test_features_of_a_class_are_no_point(net: ShapesNet, drawn: tuple[Tensor, Factors]) -> None:
    features = _features(net, drawn[0].float() / 255)
    assert features.shape == (COUNT, FEATURE_WIDTH)
    assert torch.linalg.matrix_rank(features - features.mean(dim=0)) == FEATURE_WIDTH
    within = torch.zeros(())
    for shape in range(len(SHAPES)):
        rows = features[drawn[1].shape == shape]
        within = within + rows.var(dim=0).sum() * len(rows) / COUNT
    assert within / features.var(dim=0).sum() > 0.5


@pytest.mark.parametrize("fault", ["blur", "noise"])
def test_features_see_imperfection(
    net: ShapesNet, drawn: tuple[Tensor, Factors], seeded: None, fault: str
) -> None:
    images = drawn[0][:1000].float() / 255
    scale = _features(net, images).std(dim=0)
    moved = [
        ((_features(net, images) - _features(net, _spoilt(images, fault, strength))) / scale)
        .mean(dim=0)
        .norm()
        .item()
        for strength in (0.25, 0.5, 1.0)
    ]
    assert 0.1 < moved[0] < moved[1] < moved[2]


def test_mistakes_go_round_the_period_of_the_shape() -> None:
    _, true = sample(0, range(200))
    turned = replace(true, rotation=true.rotation + 2 * math.pi - 0.1, x=true.x + 2)
    off = mistakes(turned, true)
    rotates = ~torch.isin(true.shape, torch.tensor([SHAPES.index("circle"), SHAPES.index("ring")]))
    assert torch.allclose(off["rotation"], 0.1 * rotates, atol=1e-4)
    assert torch.allclose(off["x"], torch.full((200,), 2.0), atol=1e-4)
    assert off["shape"].sum() == 0
    flipped = replace(true, shape=(true.shape + 1) % len(SHAPES))
    assert mistakes(flipped, true)["shape"].mean() == 1


def test_the_header_says_what_the_weights_are(read: Reading, drawn: tuple[Tensor, Factors]) -> None:
    with safe_open(WEIGHTS, framework="pt") as weights:
        header = weights.metadata()
    assert header["dataset"] == "shapes"
    assert header["license"] == "Apache-2.0"
    assert int(header["training_images"]) > 0
    accuracy = json.loads(header["accuracy"])
    error = json.loads(header["mean_error"])
    off = mistakes(read.factors, drawn[1])
    for name in CATEGORICAL:
        assert accuracy[name] >= 0.995
        assert accuracy[name] == pytest.approx(1 - off[name].mean().item(), abs=0.003)
    for name in RANGES:
        assert error[name] == pytest.approx(off[name].mean().item(), rel=0.1)


def test_training_follows_its_seed() -> None:
    weights = [train_shapes_net(seed=seed, steps=2).heads.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_command_writes_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "net.safetensors"
    monkeypatch.setattr(shapes_net, "FRESH", range(100))
    monkeypatch.setattr("sys.argv", ["shapes_net", "--out", str(out), "--steps", "1"])
    main()
    assert not load_shapes_net(out).training
    with safe_open(out, framework="pt") as weights:
        header = weights.metadata()
    assert header["training_images"] == "128"
    assert header["accuracy"] in capsys.readouterr().out
    assert list(out.parent.iterdir()) == [out]


@torch.no_grad()
def _features(net: ShapesNet, images: Tensor) -> Tensor:
    return torch.cat([net(batch)[0] for batch in images.split(500)])


def _spoilt(images: Tensor, fault: str, strength: float) -> Tensor:
    if fault == "noise":
        return (images + 0.08 * strength * torch.randn(images.shape)).clamp(0, 1)
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return images.lerp(blurred, strength)
