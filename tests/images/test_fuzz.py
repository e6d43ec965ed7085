"""Thousands of damaged and odd files: each decodes or is named with a reason; none hangs."""

from __future__ import annotations

import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchgen.images.encoded import SUFFIXES
from benchgen.images.folder import FolderSource
from benchgen.images.open import open_images_at
from benchgen.images.source import Excluded
from tests.images.making import every_format, excluded, pixels, put, same

_SECONDS_A_FILE = 10.0
_DENIED = "denied"

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage


@pytest.mark.parametrize(
    "count", [200, pytest.param(5000, marks=pytest.mark.slow)], ids=["quick", "all"]
)
def test_damaged_files_decode_or_are_named(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = {f"sound/{name}": content for name, content in every_format(0).items()}
    alone = pixels(FolderSource(put(tmp_path / "alone", sound)))
    assert len(alone) == len(sound)
    root = put(tmp_path / "mixed", sound)
    hopeless = make_odd_files(root, count)
    source = FolderSource(root)
    monkeypatch.setattr(os, "open", denying(os.open))
    for name in [name for name in hopeless if name.startswith("vanished")]:
        (root / name).unlink()

    found, bad = pixels(source, 64), excluded(source)
    assert found.keys() | bad.keys() == set(source.paths)
    assert not found.keys() & bad.keys()
    assert set(hopeless) <= bad.keys()
    assert all(one.reason and source.paths[one.index] == one.name for one in bad.values())
    assert "cannot be read" in bad["denied-0.png"].reason
    assert same(alone, {name: image for name, image in found.items() if name in sound})
    assert len(source.fingerprint) == 64


def test_no_single_file_takes_long(tmp_path: Path) -> None:
    make_odd_files(tmp_path, 120)
    source = FolderSource(tmp_path)
    for index in range(source.size):
        started = time.monotonic()
        (batch,) = source.read([index], 1)
        assert len(batch.indices) + len(batch.excluded) == 1
        assert time.monotonic() - started < _SECONDS_A_FILE, source.paths[index]


def test_damage_to_one_file_is_the_same_with_and_without_others(tmp_path: Path) -> None:
    make_odd_files(tmp_path, 120)
    source = FolderSource(tmp_path)
    together = excluded(source)
    for name in list(together)[:40]:
        index = source.paths.index(name)
        (batch,) = source.read([index], 1)
        assert batch.excluded == (Excluded(index, name, together[name].reason),)


def test_archives_name_the_same_images_for_the_same_reasons(tmp_path: Path) -> None:
    make_odd_files(tmp_path / "odd", 150)
    for path in (tmp_path / "odd").iterdir():
        if path.is_dir():
            path.rmdir()
    folder = FolderSource(tmp_path / "odd")
    for kind in ("zip", "tar", "gztar"):
        packed = shutil.make_archive(str(tmp_path / "odd"), kind, tmp_path / "odd")
        archive = open_images_at(packed, where="test")
        reasons = [
            {name: one.reason for name, one in excluded(source).items()}
            for source in (folder, archive)
        ]
        assert reasons[0] == reasons[1]
        assert same(pixels(folder), pixels(archive))


def make_odd_files(root: Path, count: int) -> list[str]:
    """Write so many odd files; return the names of those that no one could use."""
    rng = np.random.default_rng(1)
    hopeless = []
    kinds = [truncated, flipped, emptied, misnamed, huge, folder, denied, vanished, garbage]
    originals = [one for seed in range(4) for one in every_format(seed).items()]
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        # Truncation and flipped bits have the most ways to go wrong.
        kind = kinds[number % len(kinds)] if number % 2 else (truncated, flipped)[number // 2 % 2]
        file, content = originals[int(rng.integers(len(originals)))]
        name = f"{kind.__name__}-{number}{Path(file).suffix}"
        made = kind(content, rng)
        if kind in (denied, vanished):
            name = f"{kind.__name__}-{number}.png"
        if kind is misnamed:
            name = f"misnamed-{number}{(*SUFFIXES, '.Png')[number % (len(SUFFIXES) + 1)]}"
        if made is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(made)
        if kind in (emptied, huge, folder, denied, vanished, garbage):
            hopeless.append(name)
    (root / "denied-0.png").write_bytes(originals[0][1])
    return [*hopeless, "denied-0.png"] if count else []


def denying(real: object) -> object:
    """``os.open`` as one sees it who may not read some files (root may read all)."""

    def opened(path: object, *rest: object, **options: object) -> int:
        if _DENIED in os.path.basename(str(path)):  # noqa: PTH119
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **options)  # type: ignore[operator,no-any-return]

    return opened


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(1, len(content)))]


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for at in rng.integers(0, len(damaged), int(rng.integers(1, 12))):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def emptied(content: bytes, rng: np.random.Generator) -> bytes:
    return b""


def misnamed(content: bytes, rng: np.random.Generator) -> bytes:
    return content


def huge(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes that declare an absurd size, as PNG or BMP."""
    side = int(rng.integers(20_000, 2**31 - 1))
    if rng.integers(2):
        header = b"BM" + struct.pack(
            "<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6
        )
        return header + bytes(6)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", b"\0")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def folder(content: bytes, rng: np.random.Generator) -> None:
    return None


def denied(content: bytes, rng: np.random.Generator) -> bytes:
    return content


def vanished(content: bytes, rng: np.random.Generator) -> bytes:
    return content


def garbage(content: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(1, 4000)))
