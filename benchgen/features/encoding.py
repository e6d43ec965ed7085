"""The measure ``encoding``: how the file of an image was made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from benchgen.images.decode import FORMATS
from benchgen.images.source import ImageBatch

Facts = tuple[str | None, int | None, str | None]

# The luminance table of ITU-T T.81 (JPEG), Annex K.1, row by row.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()
_LARGEST = 255

# By how many luma samples there are per chroma sample, across and down.
_CHROMA = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}


def load() -> Encoding:
    """The ``encoding`` measure."""
    return Encoding()


class Encoding:
    """Format, JPEG quality and chroma subsampling, read off the encoded bytes.

    All are None where the source has no files (a generator, an array), the last two also where
    the file is not a JPEG. Two sets whose codecs differ are told apart by their codecs alone, so
    look here before you believe a metric.

    - ``format``: ``jpeg``, ``png``, ``webp``, ``gif``, ``bmp``, ``tiff`` or ``ppm``; ``mpo`` for
      a JPEG of several pictures, as phones write them.
    - ``jpeg_quality``: 1 to 100, on the scale of the Independent JPEG Group's library (Pillow's,
      too): the quality whose luminance table is nearest to the file's, in the sum of absolute
      differences. Exact for files of that library; an estimate for other encoders.
    - ``chroma``: ``4:4:4`` (full), ``4:2:2``, ``4:2:0``, ``4:4:0``, ``4:1:1``, ``4:1:0``, or
      ``4:0:0`` for gray. None for other ratios.
    """

    columns = ("format", "jpeg_quality", "chroma")

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"measure": "encoding", "version": "1"}

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """One value a column and image; takes the encoded bytes of the batch."""
        nothing: Facts = (None, None, None)
        if batch.encoded is None:
            rows = [nothing] * len(batch.images)
        else:
            rows = [_facts(encoded) for encoded in batch.encoded]
        return {column: [row[at] for row in rows] for at, column in enumerate(self.columns)}


def _facts(encoded: bytes) -> Facts:
    try:
        # This reads the header alone.
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            name = str(image.format).lower()
            if isinstance(image, JpegImageFile):
                return name, _quality(image), _subsampling(image)
            return name, None, None
    except OSError:  # what a source of another format decoded itself
        return None, None, None


def _quality(image: JpegImageFile) -> int | None:
    luminance = image.quantization.get(image.layer[0][3])
    if luminance is None:
        return None
    # Some encoders go beyond 8 bits where the library stops.
    table = np.minimum(luminance, _LARGEST)
    distance = np.abs(_TABLES - table).sum(axis=1)
    return int(distance.argmin()) + 1


def _subsampling(image: JpegImageFile) -> str | None:
    if len(image.layer) == 1:
        return "4:0:0"
    factors = [layer[1:3] for layer in image.layer]
    (across, down), (chroma_across, chroma_down), *_ = factors
    if factors[1:3] != factors[1:2] * 2 or across % chroma_across or down % chroma_down:
        return None
    return _CHROMA.get((across // chroma_across, down // chroma_down))


def _scaled(quality: int) -> np.ndarray:
    """The luminance table that the Independent JPEG Group's library writes at a quality."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table: np.ndarray = np.clip((_LUMINANCE * percent + 50) // 100, 1, _LARGEST)
    return table


_TABLES = np.stack([_scaled(quality) for quality in range(1, 101)])
