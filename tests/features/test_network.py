from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchgen.errors import UsageError
from benchgen.features.extractor import Extracted
from benchgen.features.network import Input, NetworkExtractor, features_only, made_when_needed
from tests.features.pictures import photos

BACKENDS: Any = torch.backends  # its switches are untyped
PLAIN = Input.of(None, "tf1", high=255)


def means(images: Tensor) -> Tensor:
    return images.mean((2, 3))


def test_arithmetic_is_exact_and_the_callers_switches_come_back() -> None:
    matmul, conv = BACKENDS.cuda.matmul, BACKENDS.cudnn.conv
    seen: list[tuple[str, str, bool]] = []

    def forward(images: Tensor) -> Tensor:
        seen.append((matmul.fp32_precision, conv.fp32_precision, torch.is_inference_mode_enabled()))
        return means(images)

    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        NetworkExtractor(features_only(forward), PLAIN, "cpu", 3, {})(photos(2, 8, 8))
        assert seen == [("ieee", "ieee", True)]
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_attention_takes_no_fused_kernel() -> None:
    seen: list[bool] = []

    def forward(images: Tensor) -> Tensor:
        cuda = BACKENDS.cuda
        seen.append(cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled())
        return means(images)

    NetworkExtractor(features_only(forward), PLAIN, "cpu", 3, {})(photos(2, 8, 8))
    assert seen == [False]
    assert BACKENDS.cuda.mem_efficient_sdp_enabled()


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(None, [64, 6]), (8, [64, 6]), (299 * 2, [4] * 17 + [2])],
)
def test_memory_is_bounded_by_the_images_that_pass_at_once(
    side: int | None, sizes: list[int]
) -> None:
    seen: list[int] = []

    def forward(images: Tensor) -> Extracted:
        seen.append(len(images))
        return Extracted(means(images), images[:, 0, 0, :2].double())

    extractor = NetworkExtractor(forward, PLAIN, "cpu", 3, {}, side=side, classes=("a", "b"))
    images = photos(70, 4, 4)
    found = extractor(images)
    assert seen == sizes
    torch.testing.assert_close(found.features, means(images.float()))
    assert found.logits is not None
    assert found.logits.dtype == torch.float32
    assert torch.equal(found.logits, images[:, 0, 0, :2].float())


def test_large_images_pass_few_at_once() -> None:
    seen: list[int] = []

    def forward(images: Tensor) -> Tensor:
        seen.append(len(images))
        return means(images)

    NetworkExtractor(features_only(forward), PLAIN, "cpu", 3, {})(photos(3, 2000, 1500))
    assert seen == [1, 1, 1]


def test_a_full_graphics_card_gets_half_as_many_at_once() -> None:
    seen: list[int] = []

    def forward(images: Tensor) -> Tensor:
        seen.append(len(images))
        if len(images) > 20:
            raise torch.cuda.OutOfMemoryError("full")
        return means(images)

    extractor = NetworkExtractor(features_only(forward), PLAIN, "cpu", 3, {})
    images = photos(70, 4, 4)
    torch.testing.assert_close(extractor(images).features, means(images.float()))
    assert seen == [64, 32, 16, 16, 16, 16, 6]
    extractor(images[:20])
    assert seen[-2:] == [16, 4]


def test_a_card_too_small_for_one_image_is_an_error() -> None:
    def forward(images: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("full")

    extractor = NetworkExtractor(features_only(forward), PLAIN, "cpu", 3, {})
    with pytest.raises(torch.cuda.OutOfMemoryError):
        extractor(photos(3, 4, 4))


def test_a_network_of_fixed_batch_is_filled_up() -> None:
    seen: list[int] = []

    def forward(images: Tensor) -> Extracted:
        seen.append(len(images))
        return Extracted(means(images), means(images))

    extractor = NetworkExtractor(forward, PLAIN, "cpu", 3, {}, batch=4, classes=tuple("abc"))
    images = photos(6, 8, 8)
    found = extractor(images)
    assert seen == [4, 4]
    torch.testing.assert_close(found.features, means(images.float()))
    assert found.logits is not None
    assert len(found.logits) == 6


def test_no_images_are_no_rows() -> None:
    extractor = NetworkExtractor(features_only(means), PLAIN, "cpu", 3, {}, classes=("a", "b"))
    found = extractor(photos(1, 8, 8)[:0])
    assert found.features.shape == (0, 3)
    assert found.logits is not None
    assert found.logits.shape == (0, 2)


def test_the_input_names_all_that_decides_it() -> None:
    inputs = [
        Input.of(None, "tf1"),
        Input.of(8, "tf1"),
        Input.of(8, "clean"),
        Input.of(8, "tf1", mean=(0.5, 0.5, 0.5)),
        Input.of(8, "tf1", std=(0.5, 0.5, 0.5)),
        Input.of(8, "tf1", low=-1),
    ]
    told = {tuple(sorted(made.fingerprint.items())) for made in inputs}
    assert len(told) == len(inputs)
    # Left as it is, an image is not resized, and by which rule says nothing.
    assert Input.of(None, "clean").fingerprint == inputs[0].fingerprint
    with pytest.raises(UsageError, match="no resize rule is called 'lanczos'; known: tf1"):
        Input.of(8, "lanczos")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_network_is_made_once_and_when_needed(at_once: bool) -> None:
    made: list[int] = []

    def make() -> Callable[[Tensor], Tensor]:
        made.append(1)
        return means

    network = made_when_needed(make, at_once=at_once)
    assert len(made) == at_once
    extractor = NetworkExtractor(features_only(network), PLAIN, "cpu", 3, {})
    for _ in range(2):
        extractor(photos(2, 8, 8))
    assert made == [1]
