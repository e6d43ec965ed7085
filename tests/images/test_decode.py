import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageFile

from benchgen.images.decode import MAX_PIXELS, DecodeError, decode


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    pixels = noise(5, 7)
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(pixels), kind, **options))
    assert decoded.image.dtype == torch.uint8
    assert torch.equal(decoded.image, torch.from_numpy(pixels).permute(2, 0, 1))
    assert decoded.flags == ()


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_gray_bilevel_and_palette_become_rgb(mode: str) -> None:
    image = Image.fromarray(noise(6, 6, 1)).convert(mode)
    decoded = decode(encode(image))
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(decoded.image, expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_is_composited_on_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.putpixel((2, 0), (100, 100, 100, 128))
    decoded = decode(encode(image.convert(mode)))
    assert decoded.flags == ("composited",)
    assert decoded.image[:, 0, 0].tolist() == [255] * 3
    assert decoded.image[:, 0, 1].tolist() == [0] * 3
    blended = round((100 * 128 + 255 * 127) / 255)
    assert (decoded.image[:, 0, 2].int() - blended).abs().max() <= 1


def test_an_opaque_alpha_channel_is_not_flagged() -> None:
    decoded = decode(encode(Image.new("RGBA", (2, 2), (1, 2, 3, 255))))
    assert decoded.flags == ()
    assert decoded.image[:, 0, 0].tolist() == [1, 2, 3]


def test_a_transparent_palette_entry_is_composited_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode(encode(image, transparency=0))
    assert decoded.image[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]
    assert decoded.flags == ("composited",)


def test_a_transparent_colour_key_is_composited_on_white() -> None:
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (1, 2, 3))
    decoded = decode(encode(image, transparency=(1, 2, 3)))
    assert decoded.image[:, 0].T.tolist() == [[9, 9, 9], [255, 255, 255]]
    assert decoded.flags == ("composited",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_gray_is_scaled_and_rounded(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    decoded = decode(encode(Image.fromarray(values), kind))
    assert decoded.image[0, 0].tolist() == [round(int(v) / 257) for v in values[0]]
    assert decoded.flags == ("16-bit",)


def png(header: bytes, data: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_sixteen_bit_colour_keeps_the_high_byte() -> None:
    samples = struct.pack(">6H", 0x0102, 0x80FF, 0xFFFF, 0, 0x00FF, 0x7F00)
    decoded = decode(png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), b"\0" + samples))
    assert decoded.image[:, 0].T.tolist() == [[0x01, 0x80, 0xFF], [0, 0, 0x7F]]
    assert decoded.flags == ("16-bit",)


def test_sixteen_bit_with_a_transparent_colour_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0)
    with pytest.raises(DecodeError, match="transparent colour"):
        decode(png(header, b"\0\x12\x34", (b"tRNS", b"\x12\x34")))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_a_declared_range_are_refused(dtype: type) -> None:
    image = Image.fromarray(np.array([[0, 70_000]], dtype=dtype))
    with pytest.raises(DecodeError, match="no declared range"):
        decode(encode(image, "TIFF"))


def test_cmyk_follows_the_stated_rule() -> None:
    inks = noise(4, 4, 4)
    decoded = decode(encode(Image.fromarray(inks, "CMYK"), "TIFF"))
    assert decoded.flags == ("cmyk",)
    inverse = 255.0 - inks
    expected = torch.from_numpy(inverse[..., :3] * inverse[..., 3:] / 255).permute(2, 0, 1)
    assert (decoded.image - expected).abs().max() <= 1


def test_a_cmyk_jpeg_decodes() -> None:
    decoded = decode(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))
    assert decoded.flags == ("cmyk",)
    assert decoded.image.min() >= 253


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied(kind: str) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    decoded = decode(encode(image, kind, exif=exif))
    assert decoded.flags == ("rotated",)
    assert decoded.image.shape == (3, 40, 20)
    assert decoded.image[:, :16].max() < 50
    assert decoded.image[:, 24:].min() > 200


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    decoded = decode(encoded)
    assert decoded.flags == ("first-frame",)
    assert decoded.image[:, 5, 5].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_truncated_file_is_refused_even_where_pillow_was_told_to_accept_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    encoded = encode(Image.fromarray(noise(64, 64)), kind)
    with pytest.raises(DecodeError):
        decode(encoded[: len(encoded) // 2])


def test_zero_bytes() -> None:
    with pytest.raises(DecodeError, match="zero bytes"):
        decode(b"")


@pytest.mark.parametrize(
    "content",
    [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_image(content: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(content)


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 2**31 - 1])
def test_absurd_declared_dimensions_are_refused_before_decoding(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    with pytest.raises(DecodeError, match="pixels"):
        decode(png(header, b"\0"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the damage
def test_random_damage_never_escapes_as_another_error() -> None:
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        original = encode(Image.fromarray(noise(24, 24)), kind)
        for _ in range(40):
            damaged = bytearray(original)
            for at in rng.integers(0, len(damaged), 6):
                damaged[at] = rng.integers(0, 256)
            with suppress(DecodeError):
                assert decode(bytes(damaged)).image.dtype == torch.uint8


@pytest.mark.filterwarnings("error")
def test_one_pixel_gives_a_tensor_of_its_own() -> None:
    image = decode(encode(Image.new("RGB", (1, 1), (1, 2, 3)))).image
    assert image.is_contiguous()
    assert image.flatten().tolist() == [1, 2, 3]
