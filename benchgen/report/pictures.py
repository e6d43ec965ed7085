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
_GAP = 2
_MOST = 36
_COLUMNS = 6


@dataclass(frozen=True)
class Picture:
    """An image to be shown; ``width`` is its size in CSS pixels."""

    image: Image.Image
    width: int
    pixelated: bool

    @property
    def uri(self) -> str:
        """The image as a ``data:`` URI: PNG where pixels count, JPEG for photographs."""
        buffer = io.BytesIO()
        kind = "png" if self.pixelated else "jpeg"
        self.image.save(buffer, kind, **({"optimize": True} if self.pixelated else {"quality": 88}))
        return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class Sheet:
    """The first images of one row, in a grid; the reference's has no row."""

    name: str
    row: Row | None
    count: int
    picture: Picture


def sheets(standings: Standings) -> list[Sheet]:
    """One sheet for the reference and one a row, all with the same number of images."""
    loaded: dict[str, list[Image.Image]] = {}
    rows = {row.name: row for row in standings.rows}
    for run in standings.comparison.runs:
        shown = _load_all(run.directory, run.document.reference_sample[:_MOST])
        if shown and run.document.reference is not None:
            loaded.setdefault(f"reference: {run.document.reference.name}", shown)
    for name, row in rows.items():
        sample = row.result.document.exhibits.sample[:_MOST]
        if shown := _load_all(row.result.directory, sample):
            loaded[name] = shown
    if not loaded:
        return []
    count = min(map(len, loaded.values()))
    columns = min(_COLUMNS, count)
    count -= count % columns
    return [
        Sheet(name, rows.get(name), count, _sheet(own[:count], columns))
        for name, own in loaded.items()
    ]


def single(directory: Path, exhibit: Exhibit) -> Picture | None:
    """One exhibit; None where its file is missing or is no PNG inside the run directory."""
    image = _load(directory, exhibit)
    if image is None:
        return None
    if max(image.size) > SMALL:
        image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
        return Picture(image, _TILE, pixelated=False)
    return Picture(image, image.width * max(1, round(SMALL / image.width)), pixelated=True)


def _load_all(directory: Path, exhibits: Sequence[Exhibit]) -> list[Image.Image]:
    found = (_load(directory, exhibit) for exhibit in exhibits)
    return [image for image in found if image is not None]


def _load(directory: Path, exhibit: Exhibit) -> Image.Image | None:
    path = (directory / exhibit.file).resolve()
    if not path.is_relative_to(directory.resolve()):
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _sheet(images: Sequence[Image.Image], columns: int) -> Picture:
    pixelated = max(max(image.size) for image in images) <= SMALL
    fitted = [image.copy() for image in images]
    for image in fitted:
        image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    wide = max(image.width for image in fitted)
    tall = max(image.height for image in fitted)
    size = columns * (wide + _GAP) - _GAP, len(fitted) // columns * (tall + _GAP) - _GAP
    sheet = Image.new("RGB", size, "#8b939c")
    for place, image in enumerate(fitted):
        down, across = divmod(place, columns)
        x = across * (wide + _GAP) + (wide - image.width) // 2
        y = down * (tall + _GAP) + (tall - image.height) // 2
        sheet.paste(image, (x, y))
    enlargement = max(1, round(60 / wide)) if pixelated else 1
    width = sheet.width * enlargement if pixelated else min(sheet.width, 380)
    return Picture(sheet, width, pixelated)
