import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets as torchvision_datasets

from benchgen.errors import ImageError, UsageError
from benchgen.images import datasets
from benchgen.images.array import ArraySource
from benchgen.images.source import Source

ROWS = 20
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHGEN_OFFLINE", "1")


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_mnist(raw: Path, packed: bool) -> None:
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for file, n in zip(FILES, (30, 30, 12, 12), strict=True):
        shape = (n, 28, 28) if "images" in file else (n,)
        content = idx(rng.integers(0, 10, shape, dtype=np.uint8))
        if packed:
            (raw / f"{file}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (raw / f"{file}-ubyte").write_bytes(content)


@pytest.mark.parametrize(
    ("load", "folder", "classes"),
    [
        (datasets.load_mnist, "MNIST", tuple("0123456789")),
        (datasets.load_fashion_mnist, "FashionMNIST", None),
    ],
)
def test_mnist_from_files_on_disk(
    tmp_path: Path, load: Callable[..., Source], folder: str, classes: tuple[str, ...] | None
) -> None:
    write_mnist(tmp_path / folder / "raw", packed=False)
    source = load("reference", root=tmp_path)
    assert isinstance(source, ArraySource)
    assert source.size == 12
    assert len(source.classes) == 10
    assert classes in (None, source.classes)
    assert load("held-out", root=tmp_path).size == 30
    assert load("reference", split="train", root=tmp_path).size == 30
    assert load("held-out", split="train", root=tmp_path).fingerprint == source.fingerprint
    (batch,) = source.read(range(12), 99)
    assert batch.images.shape == (12, 3, 28, 28)
    assert batch.labels is not None


def test_mnist_is_unpacked_offline_where_the_md5_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "cache/datasets/MNIST/raw"
    write_mnist(raw, packed=True)
    md5 = [hashlib.md5((raw / f"{file}-ubyte.gz").read_bytes()).hexdigest() for file in FILES]
    resources = [(f"{file}-ubyte.gz", digest) for file, digest in zip(FILES, md5, strict=True)]
    monkeypatch.setattr(torchvision_datasets.MNIST, "resources", resources)
    assert datasets.load_mnist("reference").size == 12


@pytest.mark.parametrize("present", [False, True])
def test_mnist_offline_says_which_files_go_where(tmp_path: Path, present: bool) -> None:
    raw = tmp_path / "cache/datasets/MNIST/raw"
    if present:
        write_mnist(raw, packed=True)  # with another md5 than the published files
    with pytest.raises(ImageError) as caught:
        datasets.load_mnist("reference")
    message = str(caught.value)
    assert "BENCHGEN_OFFLINE is set" in message
    assert str(raw) in message
    assert "t10k-labels-idx1-ubyte.gz (md5 ec29112dd5afa0611ce80d1b7f02629c)" in message


def test_mnist_without_a_network_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BENCHGEN_OFFLINE")
    monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", [(tmp_path / "no/").as_uri()])
    with pytest.raises(ImageError, match=r"cannot be fetched or read: .*put these files of MNIST"):
        datasets.load_mnist("reference", root=tmp_path)
    assert capsys.readouterr().out == ""
    with pytest.raises(ImageError, match="downloading is switched off"):
        datasets.load_mnist("reference", root=tmp_path, download=False)


def test_damaged_mnist_files_are_one_error(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    write_mnist(raw, packed=False)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 cut")
    with pytest.raises(ImageError, match="cannot be fetched or read"):
        datasets.load_mnist("reference", root=tmp_path)


def records(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, (ROWS, 1), dtype=np.uint8)
    return np.concatenate([labels, rng.integers(0, 256, (ROWS, 3072), dtype=np.uint8)], axis=1)


def write_cifar10(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, bytes]], None]
) -> str:
    """An archive in the layout of the published one, with fewer rows; returns its md5."""
    names = ["data_batch_1.bin", "test_batch.bin", *(f"data_batch_{i}.bin" for i in range(2, 6))]
    files = {f"cifar-10-batches-bin/{name}": records(at).tobytes() for at, name in enumerate(names)}
    files["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\n"
    change(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "_CIFAR10_ROWS", ROWS)
    monkeypatch.setattr(datasets, "_CIFAR10_MD5", md5)
    return md5


def leave(_: dict[str, bytes]) -> None:
    pass


def test_cifar10_from_its_binary_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "cache/datasets/cifar-10-binary.tar.gz"
    write_cifar10(archive, monkeypatch, leave)
    test = datasets.load_cifar10("reference")
    train = datasets.load_cifar10("held-out")
    assert (test.size, train.size) == (ROWS, 5 * ROWS)
    assert test.classes[0] == "airplane"
    assert test.classes[9] == "truck"
    (batch,) = test.read([3], 1)
    expected = torch.from_numpy(records(1)[3])
    assert batch.labels is not None
    assert batch.labels.tolist() == [int(expected[0])]
    assert torch.equal(batch.images[0], expected[1:].view(3, 32, 32))
    (batch,) = train.read([ROWS], 1)  # the first image of data_batch_2
    assert torch.equal(batch.images[0], torch.from_numpy(records(2)[0, 1:]).view(3, 32, 32))
    assert list(archive.parent.iterdir()) == [archive]


def test_cifar10_is_downloaded_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = tmp_path / "remote.tar.gz"
    write_cifar10(remote, monkeypatch, leave)
    monkeypatch.setattr(datasets, "_CIFAR10_URL", remote.as_uri())
    with pytest.raises(ImageError, match="is missing, and BENCHGEN_OFFLINE is set; get file:"):
        datasets.load_cifar10("reference")
    monkeypatch.delenv("BENCHGEN_OFFLINE")
    assert datasets.load_cifar10("reference").size == ROWS
    assert (tmp_path / "cache/datasets/cifar-10-binary.tar.gz").is_file()
    monkeypatch.setattr(datasets, "_CIFAR10_MD5", "0" * 32)
    with pytest.raises(ImageError, match=r"has md5 [0-9a-f]{32}, and .* expected 0000"):
        datasets.load_cifar10("reference")
    monkeypatch.setattr(datasets, "_CIFAR10_URL", (tmp_path / "absent").as_uri())
    with pytest.raises(ImageError, match="could not be fetched"):
        datasets.load_cifar10("reference")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("cifar-10-batches-bin/test_batch.bin"), "lacks .*test_batch"),
        (
            lambda files: files.update({"cifar-10-batches-bin/test_batch.bin": b"short"}),
            "no plain file of 61,460 bytes",
        ),
    ],
)
def test_an_archive_with_other_members(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    write_cifar10(tmp_path / "cifar-10-binary.tar.gz", monkeypatch, change)
    with pytest.raises(ImageError, match=message):
        datasets.load_cifar10("reference", root=tmp_path)


def test_members_outside_the_folder_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["../escaped.bin"] = b"x"
        files["test_batch.bin"] = b"x"

    write_cifar10(tmp_path / "in/cifar-10-binary.tar.gz", monkeypatch, add)
    assert datasets.load_cifar10("reference", root=tmp_path / "in").size == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_archive_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    monkeypatch.setattr(datasets, "_CIFAR10_MD5", hashlib.md5(b"no archive").hexdigest())
    with pytest.raises(ImageError, match="cannot be read"):
        datasets.load_cifar10("reference", root=tmp_path)


@pytest.mark.parametrize("load", [datasets.load_mnist, datasets.load_cifar10])
def test_unknown_parts_and_splits(load: Callable[..., Source]) -> None:
    with pytest.raises(UsageError, match="known: train, test"):
        load("reference", split="valid")
    with pytest.raises(UsageError, match="known: reference, held-out"):
        load("test")
