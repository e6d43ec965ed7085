import pytest
import torch

from benchgen.features import image_stats
from benchgen.images.source import ImageBatch


def measure(images: torch.Tensor) -> dict[str, list[float | None]]:
    batch = ImageBatch(indices=torch.arange(len(images)), images=images)
    columns = image_stats.load()(batch)
    return {name: list(values) for name, values in columns.items()}  # type: ignore[arg-type]


def flat(red: int, green: int, blue: int) -> torch.Tensor:
    return torch.tensor([red, green, blue], dtype=torch.uint8).view(3, 1, 1).expand(3, 6, 5)


def test_flat_images() -> None:
    found = measure(torch.stack([flat(0, 0, 0), flat(255, 255, 255), flat(255, 0, 0)]))
    assert tuple(found) == image_stats.load().columns
    assert found["brightness"] == pytest.approx([0, 1, 0.299])
    assert found["contrast"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert found["saturation"] == pytest.approx([0, 0, 1])
    assert found["sharpness"] == pytest.approx([0, 0, 0], abs=1e-6)


def test_half_black_half_white() -> None:
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images[..., 4:] = 255
    found = measure(images)
    assert found["brightness"] == pytest.approx([0.5])
    assert found["contrast"] == pytest.approx([0.5])
    # Of six inner columns, the Laplacian is 1 left of the edge and -1 right of it.
    assert found["sharpness"] == pytest.approx([2 / 6])


def test_a_single_bright_pixel() -> None:
    images = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    images[..., 2, 2] = 255
    values = torch.tensor([-4.0] + [1.0] * 4 + [0.0] * 4)
    assert measure(images)["sharpness"] == pytest.approx([float(values.var(correction=0))])


def test_blur_lowers_sharpness() -> None:
    noise = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(noise.float(), 3, 1, 1).to(torch.uint8)
    sharp, soft = measure(torch.cat([noise, blurred]))["sharpness"]
    assert sharp is not None
    assert soft is not None
    assert soft < sharp / 4


def test_tiny_images_have_no_sharpness() -> None:
    found = measure(torch.full((2, 3, 2, 9), 51, dtype=torch.uint8))
    assert found["sharpness"] == [None, None]
    assert found["brightness"] == pytest.approx([0.2, 0.2])


def test_an_empty_batch() -> None:
    assert measure(torch.zeros(0, 3, 1, 1, dtype=torch.uint8)) == {
        name: [] for name in image_stats.load().columns
    }
