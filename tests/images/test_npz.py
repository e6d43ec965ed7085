import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import benchgen.images.npz as npz_module
from benchgen.errors import ImageError
from benchgen.images.array import ArraySource, load_array
from benchgen.images.npz import Npz

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 1])


def test_the_format_of_adm_is_mapped_and_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IMAGES, LABELS)
    array = Npz(tmp_path / "a.npz").array("arr_0")
    assert isinstance(array, np.memmap)
    assert np.array_equal(array, IMAGES)
    source = load_array(tmp_path / "a.npz")
    assert source.classes == ("0", "1", "2")
    (batch,) = source.read([4, 1], 4)
    assert torch.equal(batch.images, torch.from_numpy(IMAGES[[4, 1]]).permute(0, 3, 1, 2))
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 2]


def test_compressed_arrays_give_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IMAGES, LABELS)
    np.savez_compressed(tmp_path / "b.npz", IMAGES, LABELS)
    assert not isinstance(Npz(tmp_path / "b.npz").array("arr_0"), np.memmap)
    assert load_array(tmp_path / "b.npz").fingerprint == load_array(tmp_path / "a.npz").fingerprint


@pytest.mark.parametrize("dtype", [">f4", "<f8", "|b1", "<U3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_dtype_and_order_is_read_as_numpy_reads_it(
    dtype: str, order: str, tmp_path: Path
) -> None:
    values = np.asarray((IMAGES[..., 0] % 2).astype(dtype), order=order)  # type: ignore[call-overload]
    np.savez(tmp_path / "a.npz", x=values, empty=values[:0], scalar=values[0, 0, 0])
    with np.load(tmp_path / "a.npz") as expected:
        for name in ("x", "empty", "scalar"):
            found = Npz(tmp_path / "a.npz").array(name)
            assert found.dtype == expected[name].dtype
            assert np.array_equal(found, expected[name])


def test_an_unchanged_file_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = tmp_path / "a.npz", tmp_path / "t.csv"
    np.savez(path, IMAGES)
    os.utime(path, (1e9, 1e9))
    table.write_text("file,label\n" + "\n".join(f"{n},{'ab'[n % 2]}" for n in range(6)))
    first, labelled = load_array(path).fingerprint, load_array(path, table=table).fingerprint
    assert first == ArraySource(IMAGES).fingerprint
    assert first != labelled
    with monkeypatch.context() as patch:
        patch.setattr(ArraySource, "_images", None)  # reading would fail
        assert load_array(path).fingerprint == first
    np.savez(path, IMAGES + 1)
    assert load_array(path).fingerprint not in (first, labelled)


def test_a_compressed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((100, 8, 9), np.uint8))
    monkeypatch.setattr(npz_module, "_UNPACKED_BYTES", 1000)
    with pytest.raises(ImageError, match=r"arr_0 unpacks to 7,\d+ bytes; .* numpy\.savez"):
        load_array(tmp_path / "a.npz")


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    content = (tmp_path / "a.npy").read_bytes().replace(b"(6, 5, 7, 3)", b"(6, 5, 9, 3)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", content)
    with pytest.raises(ImageError, match="cannot be read"):
        load_array(tmp_path / "a.npz")


def test_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IMAGES, LABELS)
    content = (tmp_path / "a.npz").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for at in rng.integers(0, len(damaged), 6):
            damaged[at] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            source = load_array(tmp_path / "a.npz")
        except ImageError:
            continue
        assert source.size > 0
