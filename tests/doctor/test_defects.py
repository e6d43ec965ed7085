"""Planted defects: nothing at strength zero, more with strength, exactly the share asked for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from benchgen.doctor import degrade, swaps
from benchgen.doctor.defects import DEFECTS, ImageDefect, SetDefect, chosen_defects
from benchgen.doctor.parts import Parts, Pool, divide
from benchgen.errors import ImageError, UsageError
from benchgen.images.array import ArraySource
from benchgen.images.embedded import load_digits
from benchgen.runs.documents import SourceRecord

_IMAGE_DEFECTS = [defect for defect in DEFECTS if isinstance(defect, ImageDefect)]
_SWAPS = [swaps.duplicate, swaps.copy_training, swaps.favour_classes]


def _photograph(batch: int = 3, side: int = 40) -> Tensor:
    """Smooth colour images with some texture."""
    small = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    large = torch.nn.functional.interpolate(small, (side, side), mode="bicubic")
    return (large.clamp(0, 1) * 255).round().to(torch.uint8)


def _pool(size: int = 2000, classes: int = 10, *, labelled: bool = True) -> Pool:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (size, 4, 4), dtype=np.uint8)
    labels = np.sort(generator.integers(0, classes, size)) if labelled else None
    source = ArraySource(images, labels, "made up")
    record = SourceRecord(name="made up", kind="array", id="x", fingerprint=source.fingerprint)
    return Pool("made up", (source,), record, source.labels)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return divide(_pool(), 400, seed=0)


@pytest.mark.parametrize("defect", _IMAGE_DEFECTS, ids=lambda defect: defect.id)
def test_stronger_is_farther_from_the_image(defect: ImageDefect) -> None:
    for images in (_photograph(), next(load_digits("reference").read(range(8), 8)).images):
        keys = list(range(len(images)))
        distances = []
        for strength in defect.strengths:
            altered = defect.apply(images, strength, keys, 0)
            assert altered.dtype == torch.uint8
            assert altered.shape == images.shape
            distances.append(float((altered.float() - images.float()).square().mean()))
        assert all(a < b for a, b in pairwise(distances)), distances
        assert distances[0] ** 0.5 < 8  # grey levels, of 255
        assert distances[-1] ** 0.5 > 8


@pytest.mark.parametrize("apply", [degrade.blur, degrade.noise, degrade.colour_cast])
def test_strength_zero_changes_nothing(apply: Callable[..., Tensor]) -> None:
    images = _photograph()
    assert torch.equal(apply(images, 0.0, [0, 1, 2], 0), images)


def test_noise_depends_on_seed_and_key_alone() -> None:
    images = _photograph()
    whole = degrade.noise(images, 20, [7, 8, 9], 0)
    assert torch.equal(whole[1:2], degrade.noise(images[1:2], 20, [8], 0))
    assert not torch.equal(whole[1:2], degrade.noise(images[1:2], 20, [9], 0))
    assert not torch.equal(whole, degrade.noise(images, 20, [7, 8, 9], 1))


def test_noise_keeps_grey_images_grey_and_has_its_strength() -> None:
    grey = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    altered = degrade.noise(grey, 10, range(4), 0)
    assert torch.equal(altered[:, 0], altered[:, 2])
    assert float(altered.float().std()) == pytest.approx(10, rel=0.03)


def test_blur_grows_with_the_image() -> None:
    """A step blurred at twice the side has half the slope."""
    slopes = []
    for side in (64, 128):
        step = torch.zeros(1, 3, side, side, dtype=torch.uint8)
        step[..., side // 2 :] = 255
        row = degrade.blur(step, 2.0, [0], 0)[0, 0, side // 2].float()
        slopes.append(float(row.diff().max()))
    assert slopes[0] / slopes[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_can_be_degraded(side: int) -> None:
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    for defect in _IMAGE_DEFECTS:
        assert defect.apply(images, defect.strengths[-1], [0, 1], 0).shape == images.shape


def test_a_cast_moves_red_and_blue_alone() -> None:
    images = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    assert degrade.colour_cast(images, 25, [0], 0)[0, :, 0, 0].tolist() == [125, 100, 75]


def test_parts_are_disjoint_and_alike(parts: Parts) -> None:
    every = torch.cat([parts.test, parts.train, parts.base, parts.reserve])
    assert torch.equal(every.sort().values, torch.arange(2000))
    assert parts.labels is not None
    whole = torch.bincount(parts.labels, minlength=10).double() / 2000
    for part in (parts.test, parts.train, parts.base):
        shares = torch.bincount(parts.labels[part], minlength=10).double() / 400
        assert float((shares - whole).abs().max()) < 2 / 400


def test_another_seed_divides_otherwise() -> None:
    first, again, other = (divide(_pool(), 400, seed) for seed in (0, 0, 1))
    assert torch.equal(first.base, again.base)
    assert not torch.equal(first.base, other.base)


def test_default_n_leaves_a_reserve_for_labelled_images() -> None:
    assert divide(_pool(), None, 0).n == 500
    assert divide(_pool(labelled=False), None, 0).n == 666
    assert divide(_pool(8000), None, 0).n == 1000


def test_too_few_images_say_how_many_it_takes() -> None:
    with pytest.raises(ImageError, match=r"made up has 140 images; .* at least 150"):
        divide(_pool(140), None, 0)
    with pytest.raises(ImageError, match=r"n is 700; .* 3 × n of the 2000 .* between 50 and 666"):
        divide(_pool(), 700, 0)


@pytest.mark.parametrize("select", _SWAPS)
def test_shares_are_exact_and_nest(select: Callable[[Parts, float], Tensor], parts: Parts) -> None:
    assert torch.equal(select(parts, 0.0), parts.base)
    before = torch.zeros(400, dtype=torch.bool)
    for percent in (5, 10, 40):
        found = select(parts, percent)
        swapped = found != parts.base
        assert int(swapped.sum()) == round(percent / 100 * 400)
        assert bool(swapped[before].all())
        assert torch.equal(found, select(parts, percent))
        before = swapped


def test_duplicates_copy_images_of_the_base_once(parts: Parts) -> None:
    found = swaps.duplicate(parts, 50)
    values, counts = found.unique(return_counts=True)
    assert bool((counts == 2).all())
    assert bool(torch.isin(values, parts.base).all())
    assert parts.labels is not None
    before, after = (torch.bincount(parts.labels[p], minlength=10) for p in (parts.base, found))
    assert int((before - after).abs().max()) <= 1


def test_copies_come_from_the_training_set_each_once(parts: Parts) -> None:
    assert set(swaps.copy_training(parts, 100).tolist()) == set(parts.train.tolist())
    found = swaps.copy_training(parts, 30)
    assert int(torch.isin(found, parts.train).sum()) == 120
    assert len(found.unique()) == 400


def test_dropped_classes_are_gone_and_nothing_is_repeated(parts: Parts) -> None:
    assert parts.labels is not None
    for percent in swaps.drop_strengths(parts):
        found = swaps.drop_classes(parts, percent)
        assert len(parts.labels[found].unique()) == 10 - round(percent / 10)
        assert len(found.unique()) == 400
        kept = torch.isin(parts.labels[parts.base], parts.labels[found])
        assert torch.equal(found[kept], parts.base[kept])
        assert not bool(torch.isin(found, torch.cat([parts.test, parts.train])).any())


def test_favoured_classes_gain_what_the_others_lose(parts: Parts) -> None:
    found = swaps.favour_classes(parts, 20)
    assert parts.labels is not None
    before, after = (torch.bincount(parts.labels[p], minlength=10) for p in (parts.base, found))
    assert int((after - before).clamp(min=0).sum()) == 80
    assert int((after > before).sum()) == 5
    assert len(found.unique()) == 400


def test_class_defects_need_labels_and_a_reserve() -> None:
    bare = divide(_pool(labelled=False), 400, 0)
    for select in (swaps.drop_classes, swaps.favour_classes):
        with pytest.raises(swaps.CannotPlantError, match="no labels"):
            select(bare, 10)
    full = divide(_pool(), 666, 0)
    with pytest.raises(swaps.CannotPlantError, match="further images of the classes that stay"):
        swaps.drop_classes(full, 50)
    with pytest.raises(swaps.CannotPlantError, match="one class only"):
        swaps.drop_classes(divide(_pool(classes=1), 400, 0), 50)


def test_a_share_of_less_than_one_image_is_refused() -> None:
    with pytest.raises(swaps.CannotPlantError, match="less than one"):
        swaps.copy_training(divide(_pool(150), 50, 0), 0.9)


@pytest.mark.parametrize(
    ("classes", "expected"), [(2, (50,)), (3, (100 / 3,)), (10, (10, 20, 30, 50)), (1, ())]
)
def test_strengths_of_dropped_classes_are_whole_classes(
    classes: int, expected: tuple[float, ...]
) -> None:
    found = swaps.drop_strengths(divide(_pool(classes=classes), 400, 0))
    assert found == pytest.approx(expected)


def test_defects_are_chosen_by_id() -> None:
    assert [defect.id for defect in chosen_defects(["copied", "blur"])] == ["blur", "copied"]
    with pytest.raises(UsageError, match="no defect is called 'blurr'; known: blur, noise"):
        chosen_defects(["blurr"])
    assert all(isinstance(defect, ImageDefect | SetDefect) for defect in chosen_defects(None))
