"""Arrays inside ``.npz`` files, mapped from disk where they lie there as they are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from benchgen.errors import ImageError

# Compressed arrays must be unpacked into memory; a bomb declares more than any machine has.
_UNPACKED_BYTES = 2**34


class Npz:
    """The arrays of an ``.npz`` file; pickled objects are never loaded.

    Raises:
        Exception: No such file, or not an ``.npz`` file; damaged ones raise almost any type, here
            and in ``array``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as archive:
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def array(self, name: str) -> np.ndarray:
        """One array: mapped where it is stored, in memory where it is compressed.

        ``numpy.savez`` and ADM's samplers store; ``numpy.savez_compressed`` compresses.

        Raises:
            ImageError: A compressed array of more than 16 GiB.
            ValueError: Pickled objects, or no array.
        """
        info = self._members[name]
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            mapped = self._mapped(info)
            if mapped is not None:
                return mapped
        if info.file_size > _UNPACKED_BYTES:
            raise ImageError(
                f"{self._path}: {name} unpacks to {info.file_size:,} bytes; compressed arrays up "
                f"to {_UNPACKED_BYTES:,} are accepted. Write it by numpy.savez, which does not "
                "compress, or as .npy"
            )
        with np.load(self._path, allow_pickle=False) as archive:
            array: np.ndarray = archive[name]
            return array

    def _mapped(self, info: zipfile.ZipInfo) -> np.ndarray | None:
        """The array as it lies in the file; None where it has to be read (no elements, objects)."""
        with open(self._path, "rb") as file:
            file.seek(info.header_offset)
            header = file.read(30)
            names = int.from_bytes(header[26:28], "little") + int.from_bytes(
                header[28:30], "little"
            )
            start = info.header_offset + 30 + names
            file.seek(start)
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                return None
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = reader(file)
            at = file.tell()
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        if dtype.hasobject or not size or at + size > start + info.file_size:
            return None  # numpy.load says what is wrong
        mapped: np.ndarray = np.memmap(self._path, dtype, "r", at, shape, "F" if fortran else "C")
        return mapped
