import hashlib
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchgen.features import image_hashes
from tests.features.columns import columns_of
from tests.features.pictures import photos


def measure(images: Tensor) -> dict[str, list[str]]:
    return columns_of(image_hashes.load(), images)


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_equal_pixels_have_equal_hashes() -> None:
    images = photos(3, 20, 30)
    images[2] = images[0]
    found = measure(images)
    assert found["pixels"][0] == found["pixels"][2] != found["pixels"][1]
    assert found["phash"][0] == found["phash"][2] != found["phash"][1]
    assert all(len(value) == 16 for values in found.values() for value in values)


def test_the_hash_of_pixels_is_sha256_of_size_and_pixels() -> None:
    image = photos(1, 2, 3)
    content = b"3x2\n" + image[0].permute(1, 2, 0).numpy().tobytes()
    assert measure(image)["pixels"] == [hashlib.sha256(content).hexdigest()[:16]]


def test_one_level_or_another_shape_changes_the_hash_of_pixels() -> None:
    image = torch.full((1, 3, 4, 6), 8, dtype=torch.uint8)
    changed = image.clone()
    changed[0, 1, 2, 3] += 1
    hashes = [measure(images)["pixels"][0] for images in (image, changed, image.view(1, 3, 6, 4))]
    assert len(set(hashes)) == 3


def test_the_perceptual_hash_survives_jpeg_and_a_smaller_size() -> None:
    image, other = photos(2, 128, 128)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    picture.resize((64, 64)).save(stream, "JPEG", quality=60)
    copy = torch.from_numpy(np.asarray(Image.open(stream)).transpose(2, 0, 1).copy())
    (original,), (copied,), (unrelated,) = (
        measure(images[None])["phash"] for images in (image, copy, other)
    )
    assert bits_apart(original, copied) <= 6
    assert bits_apart(original, unrelated) >= 16
