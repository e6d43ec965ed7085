"""Everything that a gate leaves behind, written into one directory."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchgen.audits.build import checks_table
from benchgen.files import write_atomically
from benchgen.gate import words
from benchgen.gate.documents import GateDocument, WorstPair
from benchgen.gate.text import junit, markdown, method
from benchgen.report.html import environment
from benchgen.report.pictures import Picture

_ENLARGED = 96


def write_gate(document: GateDocument, out: Path) -> Path:
    """Write index.html, gate.md, gate.json, junit.xml and, of what degraded, pairs-<name>.png.

    Returns:
        The path of index.html.

    Raises:
        StoreError: If the place cannot be written.
    """
    for old in out.glob("pairs-*.png"):
        old.unlink()
    for name, pairs in _by_generator(document).items():
        write_atomically(out / pairs_file(name), _sheet(pairs))
    write_atomically(out / "gate.md", markdown(document))
    write_atomically(out / "junit.xml", junit(document))
    write_atomically(out / "gate.json", document.model_dump_json(indent=1) + "\n")
    index = out / "index.html"
    write_atomically(index, html(document))
    return index


def pairs_file(generator: str) -> str:
    """Name of the picture of a generator's worst pairs: above before, below after."""
    return f"pairs-{generator}.png"


def html(document: GateDocument) -> str:
    """The outcome as one self-contained HTML document; names and texts are escaped."""
    shown = {
        name: [(pair, _picture(pair.before), _picture(pair.after)) for pair in pairs]
        for name, pairs in _by_generator(document).items()
    }
    return (
        environment()
        .get_template("gate.html.j2")
        .render(
            document=document,
            headline=words.headline(document),
            method=method(document),
            columns=words.COLUMNS,
            lines=[(check, words.cells(check)) for check in words.sorted_checks(document)],
            audit=None if document.audit is None else checks_table(document.audit),
            pairs=shown,
        )
    )


def _by_generator(document: GateDocument) -> dict[str, list[WorstPair]]:
    found: dict[str, list[WorstPair]] = {}
    for pair in document.pairs:
        found.setdefault(pair.generator, []).append(pair)
    return found


def _open(encoded: str) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(encoded)), formats=["PNG"]) as image:
        return image.convert("RGB")


def _picture(encoded: str) -> Picture:
    image = _open(encoded)
    enlargement = max(1, _ENLARGED // image.width)
    return Picture(image, image.width * enlargement, pixelated=True)


def _sheet(pairs: Sequence[WorstPair]) -> bytes:
    """Two rows: before, and after from the same seeds."""
    columns = [(_open(pair.before), _open(pair.after)) for pair in pairs]
    wide = max(image.width for both in columns for image in both)
    tall = max(image.height for both in columns for image in both)
    factor = max(1, _ENLARGED // wide)
    gap = 2
    sheet = Image.new("RGB", (len(columns) * (wide + gap) - gap, 2 * tall + gap), "#8b939c")
    for across, both in enumerate(columns):
        for down, image in enumerate(both):
            sheet.paste(image, (across * (wide + gap), down * (tall + gap)))
    size = sheet.width * factor, sheet.height * factor
    buffer = io.BytesIO()
    sheet.resize(size, Image.Resampling.NEAREST).save(buffer, "png")
    return buffer.getvalue()
