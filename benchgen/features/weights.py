"""Weights files: found or fetched, checked by sha256, and read without running code."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchgen.download import DownloadError, download, file_digest
from benchgen.errors import WeightsError
from benchgen.paths import cache_dir, offline


def find_weights(filename: str, sha256: str, url: str, explicit: str | Path | None = None) -> Path:
    """A local file with this content, downloaded if need be.

    Where a path is given, that file and no other. Else ``weights/`` in benchgen's cache, then
    torch hub's checkpoints; else it is downloaded into benchgen's cache, unless
    ``BENCHGEN_OFFLINE`` is set.

    Args:
        filename: The file's published name.
        sha256: Of its content, in hex.
        url: Where it is published.
        explicit: The caller's own path to it.

    Raises:
        WeightsError: not found or not this content, and could not be fetched.
    """
    if explicit is not None:
        return _checked(Path(explicit).expanduser(), sha256)
    target = cache_dir() / "weights" / filename
    states = []
    for candidate in (target, Path(torch.hub.get_dir()) / "checkpoints" / filename):
        state = _state(candidate, sha256)
        if state is None:
            return candidate
        states.append(state)
    try:
        if offline():
            raise DownloadError("it is not downloaded because BENCHGEN_OFFLINE is set")
        download(url, target, "sha256", sha256)
    except DownloadError as error:
        raise WeightsError(
            f"the weights {filename} are needed: {'; '.join(states)}; {error}. "
            f"Get {url} (sha256 {sha256}) and put it at {target}"
        ) from error
    return target


def load_state(path: str | Path, sha256: str) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a ``torch.save`` file without code.

    The very bytes that are hashed are the ones that are read.

    Raises:
        WeightsError: no such file, another sha256 (then nothing of it is interpreted), a damaged
            file, or one that holds anything but named tensors.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise WeightsError(f"{path} has sha256 {found}; expected {sha256}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} holds no plain weights: {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path} holds a {type(state).__name__}; expected tensors by name")
    return dict(state)


def _checked(path: Path, sha256: str) -> Path:
    if state := _state(path, sha256):
        raise WeightsError(f"the weights asked for cannot be used: {state}; expected {sha256}")
    return path


def _state(path: Path, sha256: str) -> str | None:
    """What is wrong with a file, or None."""
    if not path.is_file():
        return f"{path} is no file"
    try:
        found = file_digest(path, "sha256")
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    return None if found == sha256.lower() else f"{path} has sha256 {found}"
