"""Every batch follows from seed, epoch and position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchgen.training.batches import augmented, epoch_batches
from benchgen.training.images import TrainingImages
from benchgen.training.request import Augmentation

BOTH: tuple[Augmentation, ...] = ("flip", "shift")


def test_batches_follow_from_seed_and_epoch() -> None:
    batches = epoch_batches(_images(10), seed=0)
    first, again = list(batches(0, 4)), list(batches(0, 4))
    assert [len(images) for images, _ in first] == [4, 4]
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], next(batches(1, 4))[0])
    assert not torch.equal(first[0][0], next(epoch_batches(_images(10), seed=1)(0, 4))[0])
    images = first[0][0]
    assert images.dtype == torch.float32
    assert images.max() <= 1


def test_the_order_is_pinned() -> None:
    """The shipped weights were trained in this order."""
    labels = next(epoch_batches(_images(10), seed=3)(5, 10))[1]
    state = int(np.random.SeedSequence([3, 5]).generate_state(1)[0])
    expected = torch.randperm(10, generator=torch.Generator().manual_seed(state))
    assert labels is not None
    assert torch.equal(labels, expected)


def test_an_epoch_shows_each_image_once_with_its_label() -> None:
    images = _images(12)
    for batch, labels in epoch_batches(images, seed=0)(0, 4):
        assert labels is not None
        assert torch.equal((batch * 255).round().to(torch.uint8), images.images[labels])


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    (batch,) = epoch_batches(_images(5).unlabelled(), seed=0)(0, 64)
    assert len(batch[0]) == 5
    assert batch[1] is None


def test_augmentation_depends_on_position_not_on_batch_size() -> None:
    whole = _epoch(epoch_batches(_images(12), 0, BOTH)(2, 12))
    assert torch.equal(whole, _epoch(epoch_batches(_images(12), 0, BOTH)(2, 4)))
    assert torch.equal(whole, _epoch(epoch_batches(_images(12), 0, BOTH)(2, 12)))
    assert not torch.equal(whole, _epoch(epoch_batches(_images(12), 0)(2, 12)))
    one, two = (_epoch(epoch_batches(_same(12), 0, BOTH)(epoch, 12)) for epoch in (0, 1))
    assert not torch.equal(one, two)


def test_flips_and_shifts_are_what_they_say() -> None:
    image = (
        torch.arange(400, dtype=torch.int32).remainder(256).to(torch.uint8).reshape(1, 1, 20, 20)
    )
    even, odd = torch.tensor([[0, 0, 0]]), torch.tensor([[1, 0, 0]])
    assert torch.equal(augmented(image, even, ["flip"]), image)
    assert torch.equal(augmented(image, odd, ["flip"]), image.flip(3))
    # Of 20 pixels up to 2 each way: words 0 to 4 are -2 to 2.
    moved = augmented(image, torch.tensor([[0, 0, 4]]), ["shift"])
    assert torch.equal(moved[0, 0, 2:, :18], image[0, 0, :18, 2:])
    assert torch.equal(moved[0, 0, 0, :18], image[0, 0, 2, 2:])
    assert torch.equal(moved[0, 0, 2:, 18:], image[0, 0, :18, 17:].flip(1)[:, 1:])
    still = augmented(image, torch.tensor([[0, 2, 2]]), ["shift"])
    assert torch.equal(still, image)


def test_half_are_flipped_and_every_shift_occurs() -> None:
    wide = torch.zeros(1, 1, 1, 21, dtype=torch.uint8)
    wide[..., 8] = 255
    seen = TrainingImages(wide.expand(2000, -1, -1, -1), None)
    flips = _epoch(epoch_batches(seen, 0, ["flip"])(0, 2000)).argmax(dim=3)
    assert set(flips.unique().tolist()) == {8, 12}
    assert 900 < int((flips == 8).sum()) < 1100
    shifts = _epoch(epoch_batches(seen, 0, ["shift"])(0, 2000)).argmax(dim=3)
    assert shifts.unique().tolist() == [6, 7, 8, 9, 10]


def _images(count: int) -> TrainingImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 20, 20), dtype=torch.uint8, generator=generator)
    return TrainingImages(images, torch.arange(count), tuple(map(str, range(count))))


def _same(count: int) -> TrainingImages:
    return TrainingImages(_images(1).images.expand(count, -1, -1, -1), None)


def _epoch(batches: object) -> Tensor:
    return torch.cat([images for images, _ in batches])  # type: ignore[attr-defined]
