import pytest
import torch
from torch import Tensor

from benchgen.errors import UsageError
from benchgen.features import random_conv
from tests.features.pictures import photos, relative_error


def rounded(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (32, 32), (57, 100)])
def test_images_of_any_size_have_512_features(shape: tuple[int, int]) -> None:
    extractor = random_conv.load("cpu")
    found = extractor(photos(3, *shape))
    assert found.logits is None
    assert found.features.shape == (3, extractor.d) == (3, 512)
    assert found.features.dtype == torch.float32
    assert found.features.isfinite().all()
    assert extractor(photos(3, *shape)[:0]).features.shape == (0, 512)


def test_the_same_on_every_machine() -> None:
    images = (torch.arange(3 * 32 * 32) * 37 % 256).view(1, 3, 32, 32).to(torch.uint8)
    row = random_conv.load("cpu")(images).features[0]
    chosen = row[[0, 30, 70, 100, 200, 300, 400, 511]]
    pinned = [0.540391, 1.43139, 0.505044, 0.748947, 0.224689, 0.304838, 0.0, -1.960229]
    torch.testing.assert_close(chosen, torch.tensor(pinned), rtol=0, atol=1e-4)
    assert float(row.double().sum()) == pytest.approx(-22.5073, abs=0.01)


def test_a_row_depends_on_its_own_image_alone() -> None:
    extractor = random_conv.load("cpu")
    images = photos(5, 32, 32)
    alone = torch.cat([extractor(image[None]).features for image in images])
    assert relative_error(extractor(images).features, alone) < 1e-5


def test_every_feature_says_something() -> None:
    rows = random_conv.load("cpu")(photos(64, 32, 32)).features
    assert (rows.std(0) > 1e-4).float().mean() > 0.98


def test_blur_noise_and_colour_move_it_each_in_its_own_way() -> None:
    images = photos(64, 32, 32)
    texture = torch.randn(64, 1, 32, 32) * 20
    images = rounded(images + texture)
    blurred = torch.nn.functional.avg_pool2d(images.float(), 3, 1, 1, count_include_pad=False)
    changes = {
        "blur": rounded(blurred),
        "noise": rounded(images + 20 * torch.randn(images.shape)),
        "colour": rounded(images + torch.tensor([20.0, 0, -20]).view(3, 1, 1)),
    }
    extractor = random_conv.load("cpu")
    before = extractor(images).features
    spread = before.std(0) / 8  # of a mean over 64 images
    moved = {
        name: (extractor(changed).features - before).mean(0) / spread
        for name, changed in changes.items()
    }
    assert all(by.abs().max() > 10 for by in moved.values())
    alike = torch.nn.functional.cosine_similarity
    assert alike(moved["blur"], moved["noise"], dim=0) < 0
    assert abs(alike(moved["blur"], moved["colour"], dim=0)) < 0.7
    assert abs(alike(moved["noise"], moved["colour"], dim=0)) < 0.7


def test_the_seed_chooses_the_kernels() -> None:
    images = photos(2, 16, 16)
    first, second = random_conv.load("cpu", 0), random_conv.load("cpu", 1)
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == random_conv.load("cpu", 0).fingerprint
    assert relative_error(first(images).features, second(images).features) > 0.1


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_bad_seeds(seed: object) -> None:
    with pytest.raises(UsageError, match="expected an integer from 0 up"):
        random_conv.load("cpu", seed)  # type: ignore[arg-type]
