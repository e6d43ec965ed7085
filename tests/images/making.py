"""Small images in every format, for the tests of sources."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from benchgen.images.source import Excluded, Source


def noise(side: int = 12, seed: int = 0, channels: int = 3) -> np.ndarray:
    """uint8 ``[side, side, channels]`` at random; without the last axis where that is 1."""
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(seed: int = 0, side: int = 8) -> bytes:
    """A PNG file of noise."""
    return encoded(Image.fromarray(noise(side, seed)))


def put(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def pixels(source: Source, batch_size: int = 7) -> dict[str, Tensor]:
    """All images of a source that can be used, by name."""
    assert source.size is not None
    return {
        name: image
        for batch in source.read(range(source.size), batch_size)
        for name, image in zip(batch.names, batch.images, strict=True)
    }


def excluded(source: Source) -> dict[str, Excluded]:
    """All images of a source that cannot be used, by name."""
    assert source.size is not None
    found = [one for batch in source.read(range(source.size), 7) for one in batch.excluded]
    return {one.name: one for one in found}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two sources gave the same images under the same names."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def every_format(seed: int) -> dict[str, bytes]:
    """One small image of each kind that is met in practice, by file name."""
    rgb = Image.fromarray(noise(12, seed))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    wide = (noise(12, seed, 1).astype(np.uint16) << 8) + 7
    makers: Iterable[tuple[str, Callable[[], bytes]]] = (
        ("rgb.jpg", lambda: encoded(rgb, "JPEG")),
        ("progressive.jpeg", lambda: encoded(rgb, "JPEG", progressive=True)),
        ("gray.jpg", lambda: encoded(rgb.convert("L"), "JPEG")),
        ("cmyk.jpg", lambda: encoded(rgb.convert("CMYK"), "JPEG")),
        ("turned.jpg", lambda: encoded(rgb, "JPEG", exif=exif)),
        ("rgb.png", lambda: encoded(rgb)),
        ("clear.png", lambda: encoded(Image.fromarray(noise(12, seed, 4), "RGBA"))),
        ("wide.png", lambda: encoded(Image.fromarray(wide))),
        ("palette.png", lambda: encoded(palette, transparency=0)),
        ("bilevel.png", lambda: encoded(rgb.convert("1"))),
        ("rgb.webp", lambda: encoded(rgb, "WEBP")),
        ("rgb.tif", lambda: encoded(rgb, "TIFF")),
        ("packed.tiff", lambda: encoded(rgb, "TIFF", compression="tiff_lzw")),
        ("cmyk.tif", lambda: encoded(rgb.convert("CMYK"), "TIFF")),
        ("rgb.bmp", lambda: encoded(rgb, "BMP")),
        ("palette.gif", lambda: encoded(palette, "GIF")),
        ("moving.gif", lambda: encoded(rgb, "GIF", save_all=True, append_images=[palette])),
        ("rgb.ppm", lambda: encoded(rgb, "PPM")),
    )
    return {name: make() for name, make in makers}
