import pytest
import torch

from benchgen.errors import UsageError
from benchgen.features import pixels


def test_rows_are_small_images_plane_by_plane() -> None:
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[1, 0] = 255
    images[1, 2, :, 8:] = 255
    extractor = pixels.load("cpu", size=2)
    extracted = extractor(images)
    assert extractor.d == 12
    assert extractor.classes == ()
    assert extracted.logits is None
    assert extracted.features.dtype == torch.float32
    assert extracted.features.shape == (2, 12)
    assert extracted.features[0].tolist() == [0.0] * 12
    red, green, blue = extracted.features[1].view(3, 2, 2)
    torch.testing.assert_close(red, torch.ones(2, 2))
    assert green.tolist() == [[0, 0], [0, 0]]
    assert blue[:, 0].max() < 0.2
    assert blue[:, 1].min() > 0.8


def test_antialiasing_averages_a_fine_pattern_away() -> None:
    checker = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(32, 32)
    rows = pixels.load("cpu")(checker.expand(1, 3, -1, -1)).features
    assert rows.shape == (1, 192)
    assert (rows - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (8, 8), (100, 33)])
def test_any_size_of_image_gives_values_in_the_unit_range(shape: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (3, 3, *shape), dtype=torch.uint8)
    rows = pixels.load("cpu", size=8)(images).features
    assert rows.shape == (3, 192)
    assert rows.min() >= 0
    assert rows.max() <= 1


def test_a_row_depends_on_its_own_image_alone() -> None:
    images = torch.randint(0, 256, (5, 3, 28, 28), dtype=torch.uint8)
    extractor = pixels.load("cpu")
    alone = torch.cat([extractor(image[None]).features for image in images])
    torch.testing.assert_close(extractor(images).features, alone)
    assert extractor(images[:0]).features.shape == (0, 192)


def test_the_fingerprint_names_the_size() -> None:
    assert pixels.load("cpu", 4).fingerprint != pixels.load("cpu", 8).fingerprint


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
def test_bad_sizes(size: object) -> None:
    with pytest.raises(UsageError, match="expected a positive integer"):
        pixels.load("cpu", size)  # type: ignore[arg-type]
