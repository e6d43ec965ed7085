import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from benchgen.features import artifacts
from tests.features.columns import as_images, columns_of
from tests.features.pictures import photos


def measure(images: Tensor) -> dict[str, list[float | None]]:
    return columns_of(artifacts.load(), images)


def one(images: Tensor, column: str) -> float:
    (value,) = measure(images)[column]
    assert value is not None
    return value


def noisy(sigma: float, side: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + sigma * torch.randn(1, side, side, generator=generator)


def test_the_noise_is_found() -> None:
    for sigma in (0.02, 0.05, 0.1):
        assert one(as_images(noisy(sigma)), "noise") == pytest.approx(sigma, rel=0.03)


def test_a_slope_is_not_noise() -> None:
    across, down = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images = (across + 2 * down).to(torch.uint8).expand(1, 3, -1, -1)
    assert one(images, "noise") == pytest.approx(0, abs=1e-12)


def test_a_step_is_sharp_and_a_slope_is_blurred() -> None:
    step = torch.zeros(1, 32, 32)
    step[..., 16:] = 1
    assert one(as_images(step), "blur") == pytest.approx(1 / 9)
    slope = (torch.arange(32) / 255).expand(1, 32, 32)
    assert one(as_images(slope), "blur") == pytest.approx(1)


def test_blurring_raises_blur() -> None:
    sharp = as_images(noisy(0.2))
    found = [one(sharp, "blur")]
    for sigma in (0.7, 1.5, 3.0):
        found.append(one(gaussian_blur(sharp, kernel_size=[21, 21], sigma=[sigma] * 2), "blur"))
    assert found == sorted(found)
    assert 0 <= found[0] < 0.3
    assert 0.5 < found[-1] <= 1


def test_blur_in_one_direction_counts() -> None:
    stripes = F.avg_pool2d(noisy(0.2), (1, 9), 1)
    assert one(as_images(stripes), "blur") > one(as_images(noisy(0.2)), "blur") + 0.15


def test_clipped_counts_values_of_all_channels() -> None:
    images = torch.full((1, 3, 2, 2), 7, dtype=torch.uint8)
    images[0, 0, 0] = 255
    images[0, 2, 1, 1] = 0
    assert one(images, "clipped") == pytest.approx(3 / 12)


def test_cast_is_the_mean_chroma() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[0] = 90  # gray
    images[1, 0] = 255  # red
    images[2, 2, :, :2] = 255  # blue and yellow halves are gray in the mean
    images[2, :2, :, 2:] = 255
    red = np.hypot(0.299 / 1.772, 0.701 / 1.402)
    assert measure(images)["cast"] == pytest.approx([0, red, 0], abs=1e-12)


@pytest.mark.parametrize("side", [32, 33])
def test_zero_insertion_leaves_a_checkerboard(side: int) -> None:
    small = photos(1, side, side).float() / 255
    inserted = torch.zeros(1, 3, 2 * side, 2 * side)
    inserted[..., ::2, ::2] = small
    bilinear = F.interpolate(small, scale_factor=2, mode="bilinear")
    # A transposed convolution whose kernel of 3 does not divide into strides of 2.
    kernel = torch.ones(3, 1, 3, 3) / 2.25
    transposed = F.conv_transpose2d(small, kernel, stride=2, groups=3)
    original, zeros, smooth, uneven = (
        one((255 * images).round().clamp(0, 255).to(torch.uint8), "checkerboard")
        for images in (small, inserted, bilinear, transposed)
    )
    assert zeros > original + 4
    assert zeros > smooth + 4
    assert uneven > max(original, smooth) + 4


def test_noise_has_no_checkerboard() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, 3, 32, 32), generator=generator, dtype=torch.uint8)
    found = torch.tensor(measure(images)["checkerboard"], dtype=torch.float64)
    # The logarithm of a mean of few squares lies a little below that of many.
    assert -0.4 < float(found.mean()) < 0
    assert float(found.std()) < 0.6


def test_blocks_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    tiles = torch.rand(1, 4, 4, generator=generator)
    flat = tiles.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    assert one(as_images(flat), "blocking") == pytest.approx(1)
    assert one(as_images(flat.roll((4, 4), (1, 2))), "blocking") < 0
    assert one(as_images(noisy(0.1)), "blocking") == pytest.approx(0, abs=0.03)


def test_jpeg_raises_blocking_with_compression() -> None:
    image = photos(1, 96, 96).float() + 8 * torch.randn(
        1, 3, 96, 96, generator=torch.Generator().manual_seed(0)
    )
    original = image.clamp(0, 255).to(torch.uint8)
    found = [one(original, "blocking")]
    for quality in (60, 20, 5):
        stream = io.BytesIO()
        Image.fromarray(original[0].permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(stream)).transpose(2, 0, 1)
        found.append(one(torch.from_numpy(decoded.copy())[None], "blocking"))
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.2


def test_flat_images() -> None:
    assert measure(torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)) == {
        "noise": [0],
        "blur": [None],
        "clipped": [0],
        "cast": pytest.approx([0], abs=1e-12),
        "checkerboard": pytest.approx([0]),
        "blocking": [None],
    }


def test_small_images_have_what_their_size_allows() -> None:
    least = {"noise": 3, "blur": 10, "clipped": 1, "cast": 1, "checkerboard": 16, "blocking": 24}
    for side in (1, 2, 3, 9, 10, 15, 16, 23, 24):
        found = measure(photos(1, 40, side))
        assert {name: values != [None] for name, values in found.items()} == {
            name: side >= smallest for name, smallest in least.items()
        }
