import numpy as np
import pytest
import torch

from benchgen.images.pixels import PixelError, to_uint8


def test_uint8_rgb_passes_through() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    assert torch.equal(to_uint8(images), images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gray_floats_become_rgb(dtype: torch.dtype) -> None:
    result = to_uint8(torch.tensor([0.0, 0.5, 1.0], dtype=dtype).view(3, 1, 1, 1))
    assert result.shape == (3, 3, 1, 1)
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    assert result[:, :, 0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_level_survives_the_way_through_floats(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(levels.to(dtype) / 255)[:, :1], levels)


def test_rounding_is_to_nearest_not_down() -> None:
    values = torch.tensor([0.4, 0.6, 254.4, 254.6]) / 255
    assert to_uint8(values.view(1, 1, 1, 4))[0, 0, 0].tolist() == [0, 1, 254, 255]


def test_an_empty_batch_is_fine() -> None:
    assert to_uint8(torch.zeros(0, 1, 4, 4)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 2, 4, 4), (1, 4, 4, 3), (1, 3, 0, 4)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PixelError, match=r"found \[.*expected \[B, C, H, W\]") as caught:
        to_uint8(torch.zeros(shape))
    assert (caught.value.field, caught.value.index) == ("shape", None)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int8, torch.complex64])
def test_wrong_dtypes(dtype: torch.dtype) -> None:
    with pytest.raises(PixelError, match="expected uint8, or float") as caught:
        to_uint8(torch.zeros(1, 3, 2, 2, dtype=dtype))
    assert (caught.value.field, caught.value.index) == ("dtype", None)


def test_something_that_is_no_tensor() -> None:
    with pytest.raises(PixelError, match=r"found numpy\.ndarray") as caught:
        to_uint8(np.zeros((1, 3, 2, 2)))  # type: ignore[arg-type]
    assert caught.value.field == "dtype"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (-0.01, "range"),
        (1.01, "range"),
        (255.0, "range"),
    ],
)
def test_bad_values_name_the_first_bad_image(value: float, field: str) -> None:
    images = torch.zeros(5, 3, 2, 2)
    images[2, 1, 0, 1] = value
    images[4] = value
    with pytest.raises(PixelError, match="position 2") as caught:
        to_uint8(images)
    assert (caught.value.field, caught.value.index) == (field, 2)
