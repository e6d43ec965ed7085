import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from benchgen.features import power_spectrum
from tests.features.columns import as_images, columns_of
from tests.features.pictures import photos


def measure(images: Tensor) -> list[list[float]]:
    """The bands of each image."""
    columns = columns_of(power_spectrum.load(), images)
    assert list(columns) == [f"band {k}" for k in range(1, 9)]
    return [list(row) for row in zip(*columns.values(), strict=True)]


def noise(n: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return as_images(0.5 + 0.1 * torch.randn(n, height, width, generator=generator))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 81)])
def test_white_noise_is_flat(height: int, width: int) -> None:
    bands = torch.tensor(measure(noise(50, height, width)))
    expected = math.log(0.1**2) - 0.577
    # The lowest band lacks what the mean took along.
    assert expected - 0.2 < float(bands[:, 0].mean()) < expected
    assert bands.mean(dim=0)[1:].tolist() == pytest.approx([expected] * 7, abs=0.06)


def test_detail_is_in_its_band() -> None:
    generator = torch.Generator().manual_seed(0)
    frequencies = torch.fft.fftfreq(64)
    cycles = torch.hypot(frequencies[:, None], frequencies[None, :])
    spectrum = torch.fft.fft2(torch.randn(64, 64, generator=generator))
    for k in range(1, 9):
        inside = (cycles > (k - 1) / 16) & (cycles <= k / 16)
        detail = torch.fft.ifft2(spectrum * inside).real
        (bands,) = measure(as_images(0.5 + 0.1 * detail[None] / detail.std()))
        assert bands.index(max(bands)) == k - 1


def test_the_edges_of_the_image_do_not_count() -> None:
    (slope,) = measure(as_images((torch.arange(128) / 255).expand(1, 128, 128)))
    assert slope[2:] == pytest.approx([math.log(1 / (12 * 255**2))] * 6, abs=0.1)


def test_the_mean_does_not_count() -> None:
    dark = torch.randint(0, 100, (1, 3, 32, 32), dtype=torch.uint8)
    assert measure(dark + 100)[0] == pytest.approx(measure(dark)[0])


def test_blur_takes_the_high_bands() -> None:
    sharp = noise(1, 64, 64)
    (before,) = measure(sharp)
    (after,) = measure(gaussian_blur(sharp, kernel_size=[9, 9], sigma=[1.0, 1.0]))
    lost = [b - a for b, a in zip(before, after, strict=True)]
    # A Gaussian blur of 1 pixel takes (2πf)² off the log power at f cycles per pixel; over a ring
    # the mean of f² is the mean of its bounds' squares.
    squares = [((k - 1) ** 2 + k**2) / 2 / 16**2 for k in range(1, 5)]
    assert lost[:4] == pytest.approx([(2 * math.pi) ** 2 * square for square in squares], rel=0.1)
    assert min(lost[4:]) > 2


def test_flat_images_have_the_power_of_rounding() -> None:
    assert measure(torch.full((1, 3, 20, 30), 9, dtype=torch.uint8)) == [
        pytest.approx([math.log(1 / (12 * 255**2))] * 8)
    ]


def test_small_images_have_none() -> None:
    assert measure(photos(2, 15, 40)) == [[None] * 8] * 2
    assert None not in measure(photos(1, 16, 16))[0]
