"""What the shipped weights promise: size, card, and images that are what was asked for."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from benchgen import SampleBatch
from benchgen.features.digits import load_digits_net
from benchgen.images.embedded import load_digits
from benchgen.report import numbers
from benchgen.training.card import read_card
from reference_models.noise import SeededNoise
from reference_models.plugin import FAMILIES, WEIGHTS, Family
from reference_models.shapes_net import load_shapes_net

FILES = sorted(WEIGHTS.glob("*-*.safetensors"))
MODELS = [path for path in FILES if path.stem != "shapes-net"]
SHIPPED = {
    "mnist-diffusion",
    "mnist-gan",
    "mnist-pixelcnn",
    "mnist-ppca",
    "mnist-transformer",
    "mnist-vae",
    "shapes-diffusion",
    "shapes-ppca",
    "shapes-transformer",
    "shapes-vae",
}
LEAST_RECOGNISED = {
    "diffusion": 0.97,
    "gan": 0.97,
    "pixelcnn": 0.9,
    "transformer": 0.9,
    "vae": 0.9,
    "ppca": 0.6,
}
OF_SHAPES = {"vae": 0.6, "diffusion": 0.6, "transformer": 0.5}


@pytest.fixture(params=MODELS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Any:
    return request.param


def _family(path: Any) -> Family:
    name = path.stem.partition("-")[2]
    return next(family for family in FAMILIES if family.name == name)


def _model(path: Any) -> Any:
    return _family(path).module.load(path)


def test_the_weights_that_should_be_here_are() -> None:
    assert {path.stem for path in MODELS} == SHIPPED


def test_weights_are_small_half_precision() -> None:
    sizes = {path.name: path.stat().st_size for path in FILES}
    assert max(sizes.values()) <= 4_000_000, sizes
    assert sum(sizes.values()) <= 25_000_000, sizes


def test_tensors_are_half_precision(path: Any) -> None:
    with safe_open(path, framework="pt") as tensors:
        dtypes = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
    assert dtypes <= {torch.float16, torch.int64}


def test_the_card_says_where_weights_come_from(path: Any) -> None:
    card = read_card(path)
    assert card.trainer == f"benchgen/{_family(path).name}"
    assert card.license == "Apache-2.0"
    if path.stem.startswith("mnist"):
        assert "5,000" in card.training_data
        assert len(card.classes) == 10


def test_the_page_of_models_says_what_the_card_says(path: Any) -> None:
    page = Path(__file__).parents[2].joinpath("docs", "models.md").read_text(encoding="utf-8")
    card = read_card(path)
    told = [
        numbers.UNDEFINED if score is None else numbers.with_error(score.value, score.stderr)
        for score in (card.fid, card.bits_per_dim)
    ]
    assert f"| `{path.stem}` | {' | '.join(told)} |" in page


def test_samples_are_recognised_as_the_class_asked_for(path: Any) -> None:
    if path.stem == "shapes-ppca":
        pytest.skip("shapes-ppca: a linear model draws clouds of colour, not shapes")
    model = _model(path)
    labels = torch.arange(240) % model.config.classes
    found = _recognised(path, model.sample(SampleBatch(range(240), seed=0), labels))
    least = OF_SHAPES if path.stem.startswith("shapes") else LEAST_RECOGNISED
    assert (found == labels).double().mean() >= least[_family(path).name]


def test_unconditional_samples_cover_every_class(path: Any) -> None:
    if path.stem.startswith("shapes"):
        pytest.skip(f"{path.stem}: without a class, some shapes are blends")
    model = _model(path)
    found = _recognised(path, model.sample(SampleBatch(range(300), seed=0)))
    counts = torch.bincount(found, minlength=model.config.classes)
    assert counts.min() >= 300 / model.config.classes / 4, counts


def test_samples_of_one_class_differ(path: Any) -> None:
    model = _model(path)
    images = model.sample(SeededNoise(30), torch.full((30,), 3))
    assert torch.pdist(_floats(images).flatten(1)).min() > 0.5


def test_an_image_does_not_depend_on_its_batch(path: Any) -> None:
    model = _model(path)
    labels = torch.arange(24) % model.config.classes
    together = _floats(model.sample(SampleBatch(range(24), seed=1), labels))
    alone = torch.cat(
        [
            _floats(model.sample(SampleBatch(range(i, i + 8), seed=1), labels[i : i + 8]))
            for i in range(0, 24, 8)
        ]
    )
    same = ((together - alone).abs() * 255 <= 1.01).flatten(1).all(dim=1)
    assert same.double().mean() >= 0.95


def test_likelihoods_of_real_digits_are_in_order() -> None:
    (batch,) = load_digits("held-out").read(range(250), 250)
    assert batch.labels is not None
    images = batch.images[:, :1]
    bits = []
    for family in ("pixelcnn", "vae", "ppca"):
        if f"mnist-{family}" in SHIPPED:
            model = _model(WEIGHTS / f"mnist-{family}.safetensors")
            nats = model.log_likelihood(images, batch.labels, SampleBatch(range(250), seed=0))
            bits.append(float(-nats.mean() / (784 * math.log(2))))
    assert bits[0] > 0.5
    assert all(better < worse for better, worse in pairwise(bits)), bits
    assert bits[-1] < 8


def _floats(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images


@torch.no_grad()
def _recognised(path: Any, images: Tensor) -> Tensor:
    """The class that a network of another kind sees in each image."""
    pixels = (_floats(images) * 255).round() / 255
    if path.stem.startswith("mnist"):
        logits: Tensor = load_digits_net()(pixels)[1]
        return logits.argmax(dim=1)
    return load_shapes_net()(pixels)[1].logits["shape"].argmax(dim=1)
