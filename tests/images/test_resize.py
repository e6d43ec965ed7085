import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from benchgen.errors import UsageError
from benchgen.images import resize as module
from benchgen.images.resize import Rule, resize

RULES: tuple[Rule, ...] = (
    "tf1",
    "pytorch-fid",
    "clean",
    "torchvision-antialias",
    "pillow-bicubic",
)
SHAPES = [
    (32, 32),
    (28, 28),
    (299, 299),
    (512, 640),
    (298, 300),
    (300, 298),
    (299, 17),
    (1024, 1023),
    (1100, 1300),
    (1, 1),
    (3, 700),
    (300, 2),
]
# What the rules promise where they promise no bits, in units of the value range.
CLOSE = 255 * 1e-5


def noise(height: int, width: int, n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=CLOSE, rtol=0)


def pytorch_fid(images: Tensor, size: int) -> Tensor:
    """On one thread: with more, torch itself takes another path for some sizes, which differs by up
    to 1.4e-5 of the range."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return 255 * F.interpolate(images / 255, (size, size), mode="bilinear", align_corners=False)
    finally:
        torch.set_num_threads(threads)


def antialiased(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)


def pillow_of_floats(images: Tensor, size: int) -> Tensor:
    planes = images.flatten(0, 1).numpy().astype(np.float32)
    small = [bicubic(plane, size, size) for plane in planes]
    return torch.from_numpy(np.stack(small)).clamp(0, 255).view(-1, 3, size, size)


def pillow_of_bytes(images: Tensor, size: int) -> Tensor:
    # One axis at a time: Pillow 13 chooses the order by the shape, older ones go across first.
    small = [
        bicubic(bicubic(image, size, len(image)), size, size)
        for image in images.permute(0, 2, 3, 1).contiguous().numpy()
    ]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()


def bicubic(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", SHAPES)
def test_tf1_equals_torch_fidelity(shape: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as theirs,
    )

    images = noise(*shape)
    expected = theirs(images.float(), size=(299, 299), align_corners=False)
    assert torch.equal(resize(images, 299, "tf1"), expected)


@pytest.mark.parametrize("size", [299, 224, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_pytorch_fid_is_torch_bilinear_on_the_unit_range(shape: tuple[int, int], size: int) -> None:
    images = noise(*shape)
    assert_close(resize(images, size, "pytorch-fid"), pytorch_fid(images, size))


@pytest.mark.parametrize("size", [299, 64, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_clean_is_pillow_bicubic_of_each_channel(shape: tuple[int, int], size: int) -> None:
    images = noise(*shape)
    assert_close(resize(images, size, "clean"), pillow_of_floats(images, size))


def test_clean_equals_clean_fid() -> None:
    resizer = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    images = noise(60, 401)
    for image, found in zip(images, resize(images, 299, "clean"), strict=True):
        expected = torch.from_numpy(resizer(image.permute(1, 2, 0).numpy()))
        assert_close(found, expected.permute(2, 0, 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_torchvision_antialias_is_torchvisions(shape: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import resize as theirs

    images = noise(*shape)
    expected = theirs(images.float(), [299, 299], antialias=True)
    assert_close(resize(images, 299, "torchvision-antialias"), expected)


@pytest.mark.parametrize("size", [299, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_bicubic_equals_pillow(shape: tuple[int, int], size: int) -> None:
    images = noise(*shape)
    assert torch.equal(resize(images, size, "pillow-bicubic"), pillow_of_bytes(images, size))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 320))
def test_every_rule_at_any_size(height: int, width: int, size: int) -> None:
    images = noise(height, width, n=1)
    assert_close(resize(images, size, "pytorch-fid"), pytorch_fid(images, size))
    assert_close(resize(images, size, "torchvision-antialias"), antialiased(images, size))
    assert_close(resize(images, size, "clean"), pillow_of_floats(images, size))
    assert torch.equal(resize(images, size, "pillow-bicubic"), pillow_of_bytes(images, size))


def test_clean_is_not_quantised_and_pillow_bicubic_is() -> None:
    clean = resize(noise(64, 64), 32, "clean")
    assert (clean != clean.round()).float().mean() > 0.9
    pillow = resize(noise(64, 64), 32, "pillow-bicubic")
    assert torch.equal(pillow, pillow.round())


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
    assert torch.equal(resize(images, 40, rule), images.float())


@pytest.mark.parametrize("rule", RULES)
def test_an_empty_batch(rule: Rule) -> None:
    assert resize(noise(8, 8)[:0], 16, rule).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(20, 33), (90, 70)])
def test_parts_and_memory_layout_do_not_show(
    rule: Rule, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise(*shape, n=5)
    expected = resize(images, 50, rule)
    # As a decoder makes them: channels last.
    by_pixel = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert_close(resize(by_pixel, 50, rule), expected)
    monkeypatch.setattr(module, "_CELLS_CPU", 1000)
    assert_close(resize(images, 50, rule), expected)


@pytest.mark.parametrize("rule", RULES)
def test_weights_made_under_inference_mode_serve_elsewhere(rule: Rule) -> None:
    images = noise(31, 37)
    with torch.inference_mode():
        first = resize(images, 53, rule)
    scale = torch.ones(1, requires_grad=True)
    second = resize(images, 53, rule) * scale
    second.sum().backward()
    assert torch.equal(first, second.detach())
    assert scale.grad is not None


@pytest.mark.parametrize("rule", ["clean", "torchvision-antialias"])
def test_a_caller_who_allows_bfloat16_gets_exact_values(rule: Rule) -> None:
    images = noise(60, 60)
    expected = resize(images, 80, rule)
    torch.set_float32_matmul_precision("medium")
    try:
        found = resize(images, 80, rule)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, expected)


def test_the_rules_differ() -> None:
    results = [resize(noise(64, 64), 31, rule) for rule in RULES]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert (one - other).abs().max() > 0.4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("rule", RULES)
def test_on_a_graphics_card(rule: Rule) -> None:
    images = noise(60, 401)
    found = resize(images.cuda(), 299, rule)
    assert found.device.type == "cuda"
    assert_close(found.cpu(), resize(images, 299, rule))


def test_an_unknown_rule() -> None:
    with pytest.raises(UsageError, match="'lanczos'; known: tf1, pytorch-fid, clean"):
        resize(noise(4, 4), 8, "lanczos")  # type: ignore[arg-type]
