"""Data sets that are downloaded once: MNIST, Fashion-MNIST and CIFAR-10.

Each has two splits, of which ``split`` names the one that serves as the reference; the other one
is the held-out part. Images keep the order of their files, in which no class comes first.
"""

from __future__ import annotations

import sys
import tarfile
import zlib
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchgen.download import DownloadError, download, file_digest
from benchgen.errors import ImageError, UsageError
from benchgen.images.array import ArraySource
from benchgen.images.source import Source
from benchgen.paths import cache_dir, offline

Part = Literal["reference", "held-out"]
Split = Literal["train", "test"]

_CIFAR10_FILE = "cifar-10-binary.tar.gz"
_CIFAR10_URL = f"https://www.cs.toronto.edu/~kriz/{_CIFAR10_FILE}"
_CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_CIFAR10_MEMBERS = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_CIFAR10_ROWS = 10_000  # of each member
_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def load_mnist(
    part: Part, split: Split = "test", root: str | Path | None = None, download: bool = True
) -> Source:
    """MNIST, 28x28 gray digits: 60,000 in "train", 10,000 in "test".

    Args:
        part: "reference" gives the split, "held-out" the other one.
        split: Which split the reference is.
        root: Folder that holds or gets ``MNIST/raw``; ``datasets`` in the cache unless given.
        download: Whether missing files may be fetched (never under ``BENCHGEN_OFFLINE``).

    Raises:
        ImageError: files are missing or damaged and could not be fetched; it says which, and
            where to put them.
        UsageError: no such part or split.
    """
    return _torchvision_source("MNIST", part, split, root, download)


def load_fashion_mnist(
    part: Part, split: Split = "test", root: str | Path | None = None, download: bool = True
) -> Source:
    """Fashion-MNIST, 28x28 gray clothes; arguments and errors as for ``load_mnist``."""
    return _torchvision_source("FashionMNIST", part, split, root, download)


def load_cifar10(
    part: Part, split: Split = "test", root: str | Path | None = None, download: bool = True
) -> Source:
    """CIFAR-10, 32x32 colour photographs: 50,000 in "train", 10,000 in "test".

    Read from the binary archive, never from the pickled one, after its md5 has matched. It is
    not unpacked. Arguments and errors as for ``load_mnist``; the file is
    ``<root>/cifar-10-binary.tar.gz``.
    """
    chosen = _split_of(part, split)
    archive = _root(root) / _CIFAR10_FILE
    _provide_cifar10(archive, download)
    records = np.concatenate(_read_cifar10(archive, _CIFAR10_MEMBERS[chosen]))
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return ArraySource(
        images, records[:, 0], f"cifar10 ({chosen})", classes=_CIFAR10_CLASSES, layout="NCHW"
    )


def _split_of(part: str, split: str) -> Split:
    if split not in ("train", "test"):
        raise UsageError(f"no split is called {split!r}; known: train, test")
    if part not in ("reference", "held-out"):
        raise UsageError(f"no part is called {part!r}; known: reference, held-out")
    return "train" if (split == "train") == (part == "reference") else "test"


def _root(root: str | Path | None) -> Path:
    return Path(root).expanduser() if root is not None else cache_dir() / "datasets"


def _why_not(allowed: bool) -> str:
    return "BENCHGEN_OFFLINE is set" if allowed else "downloading is switched off"


def _torchvision_source(
    name: Literal["MNIST", "FashionMNIST"],
    part: Part,
    split: Split,
    root: str | Path | None,
    allowed: bool,
) -> Source:
    from torchvision import datasets

    chosen = _split_of(part, split)
    kind: type[datasets.MNIST] = getattr(datasets, name)
    folder = _root(root)
    missing = _missing(kind, folder / name / "raw")
    where = f"put these files of {name} into {folder / name / 'raw'}: " + ", ".join(
        f"{file} (md5 {md5})" for file, md5 in kind.resources
    )
    if missing and (offline() or not allowed):
        raise ImageError(
            f"{name}: {', '.join(missing)} missing or damaged, and {_why_not(allowed)}; {where}"
        )
    try:
        with redirect_stdout(sys.stderr):  # torchvision prints; stdout is for results
            data: Any = kind(folder, train=chosen == "train", download=True)
    except (RuntimeError, OSError, ValueError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{name} cannot be fetched or read: {reason}; {where}") from error
    classes = [label.split(" - ")[0] for label in kind.classes]
    title = f"{'mnist' if name == 'MNIST' else 'fashion-mnist'} ({chosen})"
    return ArraySource(data.data, data.targets, title, classes=classes, layout="NHW")


def _missing(kind: Any, raw: Path) -> list[str]:
    """Files that are there neither unpacked nor packed with the right md5."""
    return [
        file
        for file, md5 in kind.resources
        if not (raw / file).with_suffix("").is_file()
        and not ((raw / file).is_file() and file_digest(raw / file, "md5") == md5)
    ]


def _provide_cifar10(archive: Path, allowed: bool) -> None:
    found = file_digest(archive, "md5") if archive.is_file() else None
    if found == _CIFAR10_MD5:
        return
    state = f"has md5 {found}" if found else "is missing"
    remedy = f"get {_CIFAR10_URL} (md5 {_CIFAR10_MD5}) and put it there"
    if offline() or not allowed:
        raise ImageError(f"CIFAR-10: {archive} {state}, and {_why_not(allowed)}; {remedy}")
    try:
        download(_CIFAR10_URL, archive, "md5", _CIFAR10_MD5)
    except DownloadError as error:
        raise ImageError(f"CIFAR-10: {archive} {state}, and {error}; {remedy}") from error


def _read_cifar10(archive: Path, members: tuple[str, ...]) -> list[np.ndarray]:
    """The records of each member: uint8 ``[rows, 3073]``, the label first, then RGB planes."""
    expected = {f"{_CIFAR10_FOLDER}/{member}": member for member in members}
    size = _CIFAR10_ROWS * 3073
    found: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for entry in tar:
                if entry.name not in expected:
                    continue
                file = tar.extractfile(entry) if entry.isreg() and entry.size == size else None
                if file is None:
                    raise ImageError(
                        f"{archive}: {entry.name} is no plain file of {size:,} bytes (it has "
                        f"{entry.size:,}); delete the archive to fetch it again"
                    )
                found[entry.name] = np.frombuffer(file.read(), np.uint8).reshape(-1, 3073)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ImageError(f"{archive} cannot be read: {error}; delete it to retry") from error
    if lacking := sorted(expected.keys() - found.keys()):
        raise ImageError(f"{archive} lacks {', '.join(lacking)}; delete it to fetch it again")
    return [found[name] for name in expected]
