import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchgen.features import encoding
from benchgen.images.folder import FolderSource
from tests.features.columns import columns_of
from tests.features.pictures import photos


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(photos(1, 24, 40)[0].permute(1, 2, 0).numpy()).convert(mode)


def saved(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def measure(*encoded: bytes) -> dict[str, list[object]]:
    images = torch.zeros(len(encoded), 3, 1, 1, dtype=torch.uint8)
    return columns_of(encoding.load(), images, encoded)


def test_every_jpeg_quality_is_read_back() -> None:
    qualities = list(range(1, 101))
    found = measure(*(saved(picture(), quality=quality) for quality in qualities))
    assert found["jpeg_quality"] == qualities
    assert set(found["format"]) == {"jpeg"}


def test_other_tables_give_the_nearest_quality() -> None:
    with Image.open(io.BytesIO(saved(picture(), quality=75))) as image:
        table = list(image.quantization[0])  # type: ignore[attr-defined]
    table[5] += 3
    assert measure(saved(picture(), qtables=[table, table]))["jpeg_quality"] == [75]


def test_chroma_subsampling() -> None:
    found = measure(
        *(saved(picture(), subsampling=ratio) for ratio in ("4:4:4", "4:2:2", "4:2:0")),
        saved(picture("L")),
        saved(picture("CMYK")),
    )
    assert found["chroma"] == ["4:4:4", "4:2:2", "4:2:0", "4:0:0", "4:4:4"]


def test_other_formats_have_a_format_alone() -> None:
    formats = ["png", "webp", "gif", "bmp", "tiff", "ppm"]
    assert measure(*(saved(picture(), name) for name in formats)) == {
        "format": formats,
        "jpeg_quality": [None] * 6,
        "chroma": [None] * 6,
    }


def test_a_jpeg_of_several_pictures() -> None:
    several = saved(picture(), "MPO", save_all=True, append_images=[picture()], quality=80)
    assert measure(several) == {"format": ["mpo"], "jpeg_quality": [80], "chroma": ["4:2:0"]}


def test_without_bytes_or_with_unknown_ones_nothing_is_known() -> None:
    nothing = {"format": [None], "jpeg_quality": [None], "chroma": [None]}
    assert columns_of(encoding.load(), photos(1, 8, 8)) == nothing
    assert measure(b"of a source's own making") == nothing


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_folder_hands_on_its_bytes(tmp_path: Path, batch_size: int) -> None:
    for quality in (50, 75, 95):
        (tmp_path / f"{quality}.jpg").write_bytes(saved(picture(), quality=quality))
    batches = FolderSource(tmp_path).read([0, 1, 2], batch_size)
    found = [value for batch in batches for value in encoding.load()(batch)["jpeg_quality"]]
    assert found == [50, 75, 95]
