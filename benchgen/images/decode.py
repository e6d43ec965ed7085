"""Encoded image files to uint8 RGB, with nothing changed silently."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from benchgen.errors import UsageError

# Below the size at which Pillow itself warns, so that this bound is the only one that matters.
MAX_PIXELS = 2**26

# Named, so that no other decoder runs on a file that merely carries an image suffix (Pillow's
# EPS reader, for one, starts an external program).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# What a report says of images that carry a flag.
CHANGES = {
    "first-frame": "have several frames or pages, of which the first was taken",
    "rotated": "were turned as their EXIF orientation says",
    "16-bit": "have 16 bits a channel and were reduced to 8",
    "cmyk": "are CMYK and were converted to RGB",
    "composited": "are partly transparent and were composited on the background",
}

Colour = tuple[int, int, int]

BACKGROUNDS: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
}
WHITE = BACKGROUNDS["white"]

# Raised whenever the same bytes decode to other pixels; part of what identifies a folder.
VERSION = "1"


class DecodeError(ValueError):
    """These bytes do not give an image; the message is the reason alone."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: uint8 ``[3, H, W]``.
        flags: What had to be changed on the way: keys of ``CHANGES``, in its order.
    """

    image: Tensor
    flags: tuple[str, ...] = ()


def parse_background(background: str | Sequence[int]) -> Colour:
    """A background colour: a key of ``BACKGROUNDS``, three numbers, or these as ``"R,G,B"``.

    Raises:
        UsageError: None of these, or a number that is not within 0 and 255.
    """
    if isinstance(background, str) and background in BACKGROUNDS:
        return BACKGROUNDS[background]
    parts = background.split(",") if isinstance(background, str) else background
    try:
        red, green, blue = (int(part) for part in parts)
        if all(0 <= part <= 255 for part in (red, green, blue)):
            return red, green, blue
    except (TypeError, ValueError):
        pass  # not three numbers: said below
    raise UsageError(
        f"background: found {background!r}; expected {', '.join(BACKGROUNDS)}, or red, green and "
        'blue from 0 to 255 ("255,128,0")'
    )


def decode(encoded: bytes, background: Colour = WHITE) -> Decoded:
    """Decode a BMP, GIF, JPEG, PNG, PNM, TIFF or WebP file to RGB.

    - The EXIF orientation is applied.
    - Transparency (alpha channel, palette or colour key) is composited on the background, and
      flagged where a pixel is not opaque.
    - 16-bit gray ``v`` becomes ``round(v / 257)``, so that 65535 is white; 16-bit colour keeps
      its high byte, which is all that Pillow reads.
    - CMYK becomes ``R = (255 - C)(255 - K) / 255`` and so on. Colour profiles are not applied.
    - Of several frames or pages, the first is taken.

    Raises:
        DecodeError: not an image of these formats, truncated or damaged, a mode without a
            declared range (32-bit), or more than ``MAX_PIXELS`` pixels.
    """
    if not encoded:
        raise DecodeError("the file has zero bytes")
    # Another library may have switched this on, and then a truncated file decodes to gray areas.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return from_pillow(image, background)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(f"not an image in one of the formats {', '.join(FORMATS)}") from None
    except Exception as error:  # on damaged files Pillow raises almost any type
        raise DecodeError(f"damaged or truncated: {type(error).__name__}: {error}") from error


def from_pillow(image: Image.Image, background: Colour = WHITE) -> Decoded:
    """Turn a Pillow image into RGB, by the rules of ``decode``.

    Raises:
        DecodeError: A mode without a declared range, or more than ``MAX_PIXELS`` pixels. Pillow's
            own errors about damaged files pass.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{width}x{height} pixels; the most accepted is {MAX_PIXELS} in all")
    flags = []
    if getattr(image, "is_animated", False):
        flags.append("first-frame")
    sixteen_bit = _is_sixteen_bit(image)
    # Pillow turns TIFF files while it loads them, and sees some PNG files' EXIF only then.
    turned = _is_turned(image)
    image.load()
    if turned or _is_turned(image):
        flags.append("rotated")
        image = ImageOps.exif_transpose(image)
    if sixteen_bit:
        if "transparency" in image.info:
            raise DecodeError("16-bit samples with a transparent colour, which Pillow misreads")
        flags.append("16-bit")
    if image.mode == "CMYK":
        flags.append("cmyk")
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            flags.append("composited")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    pixels = np.asarray(image).transpose(2, 0, 1).copy()
    return Decoded(torch.from_numpy(pixels), tuple(flags))


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Whether samples are wider than 8 bits. Asked before loading: Pillow forgets it after."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in tiles)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DecodeError("32-bit float samples, which have no declared range")
    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise DecodeError("32-bit integer samples, which have no declared range")
    return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
