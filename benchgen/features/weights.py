"""Weights files: found or fetched, checked by sha256, and read without running code."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from benchgen.download import DownloadError, begins_with, download, file_digest
from benchgen.errors import UsageError, WeightsError
from benchgen.paths import cache_dir, offline


@dataclass(frozen=True)
class Published:
    """A weights file as its authors publish it.

    Attributes:
        filename: Its name in the cache (and in torch hub's, where it is looked for too).
        sha256: Of its content in hex: the whole, or the first digits (8 or more) where no more
            is published.
        url: Where it is.
    """

    filename: str
    sha256: str
    url: str


def locate(
    who: str,
    published: Published,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
) -> tuple[Path, str]:
    """The weights that an extractor is to use, checked, and their whole sha256.

    Args:
        who: The extractor, for messages.
        published: What is found or fetched unless ``weights`` is given.
        weights: The user's own path; with the published content, or with ``weights_sha256``.
        weights_sha256: sha256 of the user's own weights.

    Raises:
        UsageError: A sha256 without weights, or none that is a sha256.
        WeightsError: Not found, not fetched, or another content.
    """
    if weights_sha256 is not None:
        if weights is None:
            raise UsageError(f"{who}: weights_sha256 needs weights, the path of that file")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", weights_sha256):
            raise UsageError(f"{who}: weights_sha256 is {weights_sha256!r}; expected 64 hex digits")
    expected = (weights_sha256 or published.sha256).lower()
    try:
        path = find_weights(published.filename, expected, published.url, weights)
    except WeightsError as error:
        if weights is None or not Path(weights).expanduser().is_file():
            raise
        raise WeightsError(
            f"{error}. To use other weights than the published ones, pass the file's own sha256 "
            "as weights_sha256"
        ) from error
    return path, expected if len(expected) == 64 else file_digest(path, "sha256")


def find_weights(filename: str, sha256: str, url: str, explicit: str | Path | None = None) -> Path:
    """A local file with this content, downloaded if need be.

    Where a path is given, that file and no other. Else ``weights/`` in benchgen's cache, then
    torch hub's checkpoints; else it is downloaded into benchgen's cache, unless
    ``BENCHGEN_OFFLINE`` is set.

    Args:
        filename: The file's published name.
        sha256: Of its content, in hex; or its first digits, 8 or more.
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
    content = read_checked(path, sha256)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the parsers raise almost anything
        raise WeightsError(f"{path} holds no plain weights: {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path} holds a {type(state).__name__}; expected tensors by name")
    return dict(state)


def read_checked(path: Path, sha256: str) -> bytes:
    """A file's content, once it is known to be the expected one.

    Raises:
        WeightsError: no such file, or another sha256.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if not begins_with(found, sha256):
        raise WeightsError(f"{path} has sha256 {found}; expected {sha256}")
    return content


def state_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of named tensors, for weights that come from no file."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


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
    return None if begins_with(found, sha256) else f"{path} has sha256 {found}"
