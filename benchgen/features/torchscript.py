"""TorchScript archives: they carry code, so opening one asks for more than a hash that fits."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from benchgen.errors import WeightsError
from benchgen.features.weights import read_checked


def load_torchscript_module(path: Path, sha256: str) -> Any:
    """Open an archive whose content is known to be trusted, on the CPU.

    The very bytes that are hashed are the ones that are opened. The caller answers for the hash:
    it is fixed in the source, or the user has allowed this file's code to run.

    Raises:
        WeightsError: no such file, another sha256 (then nothing of it is interpreted), or no
            TorchScript archive.
    """
    content = read_checked(path, sha256)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates what its users still have
            return torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # damaged bytes make the parser raise almost anything
        first = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path} is no TorchScript archive: {first}") from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive with code, told from its names alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
