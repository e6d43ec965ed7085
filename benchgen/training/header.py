"""The metadata of a safetensors file, read without torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from benchgen.errors import WeightsError

MOST_BYTES = 16 * 2**20
"""A longer header is refused before it is read."""


def read_metadata(path: Path) -> dict[str, str]:
    """What the header of a file says beside its tensors; these are not read.

    A file is eight bytes that say how long the header is, the header as JSON, and the tensors.

    Raises:
        WeightsError: The file is missing, is no safetensors file, or was cut short.
    """
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise WeightsError(f"{path} is no file; expected one that `benchgen train` wrote")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MOST_BYTES, size - 8):
                raise _damaged(
                    path,
                    f"its header would be {length:,} bytes long, of a file of {size:,} (at most "
                    f"{MOST_BYTES:,} are read)",
                )
            raw = file.read(length)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    header = parse_object(raw, path, "its header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "its metadata are no table of texts")
    _require_whole(path, header, size - 8 - length)
    return metadata


def parse_object(text: str | bytes, path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a file that anyone may have written; NaN and infinities are refused.

    Raises:
        WeightsError: It is none; names the file.
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{what} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise _damaged(path, f"{what} is no JSON object")
    return found


def _require_whole(path: Path, tensors: dict[str, Any], size: int) -> None:
    """Refuse a file that holds other than the bytes that its header speaks of."""
    try:
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise _damaged(path, "its header does not say where its tensors are") from error
    if end != size:
        raise _damaged(path, f"its tensors take {end:,} bytes, and {size:,} are there")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no number")


def _damaged(path: Path, found: str) -> WeightsError:
    return WeightsError(
        f"{path} is no whole safetensors file: {found}; train it again, or fetch another copy"
    )
