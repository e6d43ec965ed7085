import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchgen.errors import UsageError
from benchgen.images.resize import Rule, resize

RULES: tuple[Rule, ...] = ("tf1", "pytorch-fid", "clean")
SHAPES = [(32, 32), (28, 28), (299, 299), (512, 640), (1, 1), (3, 700), (300, 2)]


def noise(height: int, width: int, n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
def test_tf1_equals_torch_fidelity(shape: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as theirs,
    )

    images = noise(*shape)
    expected = theirs(images.float(), size=(299, 299), align_corners=False)
    assert torch.equal(resize(images, 299, "tf1"), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_pytorch_fid_is_torch_bilinear_on_the_unit_range(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    expected = F.interpolate(images / 255, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(images, 299, "pytorch-fid") / 255, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_is_pillow_bicubic_of_each_channel(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    result = resize(images, 64, "clean")
    for image, found in zip(images, result, strict=True):
        for plane, channel in zip(image, found, strict=True):
            image32 = Image.fromarray(plane.numpy().astype(np.float32))
            small = image32.resize((64, 64), Image.Resampling.BICUBIC)
            assert torch.equal(channel, torch.from_numpy(np.array(small)).clamp(0, 255))


def test_clean_is_not_quantised() -> None:
    result = resize(noise(64, 64), 32, "clean")
    assert (result != result.round()).float().mean() > 0.9


@pytest.mark.parametrize("rule", RULES)
def test_the_result_is_float32_in_the_8_bit_range(rule: Rule) -> None:
    checker = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(20, 20)
    result = resize(checker.expand(2, 3, -1, -1), 17, rule)
    assert result.shape == (2, 3, 17, 17)
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 255.001


@pytest.mark.parametrize("rule", RULES)
def test_the_same_size_is_left_alone(rule: Rule) -> None:
    images = noise(40, 40)
    torch.testing.assert_close(resize(images, 40, rule), images.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_batch(rule: Rule) -> None:
    assert resize(noise(8, 8)[:0], 16, rule).shape == (0, 3, 16, 16)


def test_the_rules_differ() -> None:
    results = [resize(noise(64, 64), 31, rule) for rule in RULES]
    assert (results[0] - results[1]).abs().max() > 1
    assert (results[1] - results[2]).abs().max() > 1


def test_an_unknown_rule() -> None:
    with pytest.raises(UsageError, match="'lanczos'; known: tf1, pytorch-fid, clean"):
        resize(noise(4, 4), 8, "lanczos")  # type: ignore[arg-type]
