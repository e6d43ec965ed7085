"""The measure ``hashes``: by which equal and nearly equal images are found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import imagehash
import PIL
from PIL import Image
from torch import Tensor

from benchgen.images.source import ImageBatch


def load() -> ImageHashes:
    """The ``hashes`` measure."""
    return ImageHashes()


class ImageHashes:
    """Two hashes of the decoded image, 16 hexadecimal digits each.

    - ``pixels``: the first 64 bits of the sha256 over width, height and pixels. Equal for equal
      images, however they are encoded.
    - ``phash``: which of the 64 lowest frequencies (a cosine transform of luma, resized to 32x32)
      are above their median, as the package ``imagehash`` has it (its ``phash``). Small changes
      (another codec, another size, a little noise) turn few bits, so the number of bits in which
      two images differ tells how alike they look. All flat images but black ones have the same.
    """

    columns = ("pixels", "phash")

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {
            "measure": "hashes",
            "version": "1",
            "imagehash": imagehash.__version__,
            # It resizes the image.
            "pillow": PIL.__version__,
        }

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """One hash a column and image; takes the uint8 images of the batch."""
        return {
            "pixels": [_pixels(image) for image in batch.images],
            "phash": [_phash(image) for image in batch.images],
        }


def _pixels(image: Tensor) -> str:
    _, height, width = image.shape
    content = image.permute(1, 2, 0).numpy().tobytes()
    return hashlib.sha256(f"{width}x{height}\n".encode() + content).hexdigest()[:16]


def _phash(image: Tensor) -> str:
    return str(imagehash.phash(Image.fromarray(image.permute(1, 2, 0).numpy())))
