"""The pictures of a report: sheets of samples and single images, read from the run directory."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from benchgen.report.standings import Row, Standings
from benchgen.runs.documents import Exhibit

SMALL = 64
_TILE = 112
GAP = 2
_MOST = 36
_COLUMNS = 6


@dataclass(frozen=True)
class Picture:
    """An image to be shown; ``width`` is its size in CSS pixels."""

    image: Image.Image
    width: int
    pixelated: bool

    @property
    def kind(self) -> str:
        """``"png"`` where pixels count, ``"jpeg"`` for photographs."""
        return "png" if self.pixelated else "jpeg"

    @property
    def encoded(self) -> bytes:
        """The image as a file."""
        buffer = io.BytesIO()
        how = {"optimize": True} if self.pixelated else {"quality": 88}
        self.image.save(buffer, self.kind, **how)
        return buffer.getvalue()

    @property
    def uri(self) -> str:
        """The image as a ``data:`` URI."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.encoded).decode()}"


@dataclass(frozen=True)
class Sheet:
    """The first images of one row, in a grid; the reference's has no row.

    ``tile`` is the (width, height) of one image; ``GAP`` pixels lie between two.
    """

    name: str
    row: Row | None
    count: int
    columns: int
    tile: tuple[int, int]
    picture: Picture


def sheets(standings: Standings) -> list[Sheet]:
    """One sheet for the reference and one a row, all with the same number of images."""
    loaded: dict[str, list[Image.Image]] = {}
    rows = {row.name: row for row in standings.rows}
    for run in standings.comparison.runs:
        reference = run.document.reference
        if reference is None or (name := f"reference: {reference.name}") in loaded:
            continue
        if shown := _load_all(run.directory, run.document.reference_sample[:_MOST]):
            loaded[name] = shown
    for name, row in rows.items():
        sample = row.result.document.exhibits.sample[:_MOST]
        if shown := _load_all(row.result.directory, sample):
            loaded[name] = shown
    if not loaded:
        return []
    count = min(map(len, loaded.values()))
    columns = min(_COLUMNS, count)
    count -= count % columns
    return [_sheet(name, rows.get(name), own[:count], columns) for name, own in loaded.items()]


def single(directory: Path, exhibit: Exhibit) -> Picture | None:
    """One exhibit; None where its file is missing or is no PNG inside the run directory."""
    image = _load(directory.resolve(), exhibit)
    if image is None:
        return None
    if max(image.size) > SMALL:
        image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
        return Picture(image, _TILE, pixelated=False)
    return Picture(image, image.width * max(1, round(SMALL / image.width)), pixelated=True)


def _load_all(directory: Path, exhibits: Sequence[Exhibit]) -> list[Image.Image]:
    root = directory.resolve()
    found = (_load(root, exhibit) for exhibit in exhibits)
    return [image for image in found if image is not None]


def _load(root: Path, exhibit: Exhibit) -> Image.Image | None:
    path = (root / exhibit.file).resolve()
    if not path.is_relative_to(root):
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _sheet(name: str, row: Row | None, images: Sequence[Image.Image], columns: int) -> Sheet:
    pixelated = max(max(image.size) for image in images) <= SMALL
    fitted = [image.copy() for image in images]
    for image in fitted:
        image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    wide = max(image.width for image in fitted)
    tall = max(image.height for image in fitted)
    size = columns * (wide + GAP) - GAP, len(fitted) // columns * (tall + GAP) - GAP
    sheet = Image.new("RGB", size, "#8b939c")
    for place, image in enumerate(fitted):
        down, across = divmod(place, columns)
        x = across * (wide + GAP) + (wide - image.width) // 2
        y = down * (tall + GAP) + (tall - image.height) // 2
        sheet.paste(image, (x, y))
    enlargement = max(1, round(60 / wide)) if pixelated else 1
    width = sheet.width * enlargement if pixelated else min(sheet.width, 380)
    picture = Picture(sheet, width, pixelated)
    return Sheet(name, row, len(images), columns, (wide, tall), picture)
