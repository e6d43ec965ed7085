import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchgen.errors import ImageError
from benchgen.images.array import ArraySource, load_array

GRAY = np.random.default_rng(0).integers(0, 256, (6, 5, 7), dtype=np.uint8)


@pytest.mark.parametrize(
    "values",
    [
        GRAY,
        GRAY[:, None],
        GRAY[..., None],
        np.repeat(GRAY[:, None], 3, axis=1),
        np.repeat(GRAY[..., None], 3, axis=3),
        torch.from_numpy(GRAY),
        (GRAY / 255).astype(np.float32),
        (GRAY / 255).astype(">f8"),
        torch.from_numpy(GRAY / 255)[:, None].half(),
    ],
    ids=["NHW", "N1HW", "NHW1", "N3HW", "NHW3", "torch", "float32", "big-endian", "half"],
)
def test_every_layout_and_dtype_is_the_same_source(values: Any) -> None:
    source = ArraySource(values)
    assert source.size == 6
    batches = list(source.read([5, 0, 3], 2))
    assert [batch.indices.tolist() for batch in batches] == [[5, 0], [3]]
    expected = torch.from_numpy(GRAY[[5, 0]])[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(batches[0].images, expected)
    assert batches[0].names == ("5", "0")
    assert source.fingerprint == ArraySource(GRAY).fingerprint


def test_labels_and_classes() -> None:
    source = ArraySource(GRAY, [0, 2, 1, 0, 2, 1], "mine")
    assert source.classes == ("0", "1", "2")
    (batch,) = source.read([1, 2], 8)
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 1]
    assert batch.labels.dtype == torch.int64
    named = ArraySource(GRAY, [0, 1, 1, 0, 1, 0], classes=["cat", "dog", "emu"])
    assert named.classes == ("cat", "dog", "emu")


def test_the_fingerprint_covers_pixels_order_labels_and_class_names() -> None:
    base = ArraySource(GRAY, [0, 1] * 3)
    changed = GRAY.copy()
    changed[0, 0, 0] ^= 1
    others = [
        ArraySource(GRAY),
        ArraySource(changed, [0, 1] * 3),
        ArraySource(GRAY[::-1], [0, 1] * 3),
        ArraySource(GRAY, [1, 0] * 3),
        ArraySource(GRAY, [0, 1] * 3, classes=["a", "b"]),
        ArraySource(GRAY.transpose(0, 2, 1), [0, 1] * 3),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 7
    assert ArraySource(GRAY, [0, 1] * 3, "another name").fingerprint == base.fingerprint


@pytest.mark.parametrize("shape", [(4, 3, 8, 3), (4, 1, 8, 3), (4, 8, 3), (8, 8, 1)])
def test_ambiguous_shapes_ask_for_the_layout(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"two ways.*layout="):
        ArraySource(np.zeros(shape, np.uint8))


def test_the_layout_settles_an_ambiguous_shape() -> None:
    values = np.zeros((4, 3, 8, 3), np.uint8)
    first = next(iter(ArraySource(values, layout="NHWC").read([0], 1)))
    assert first.images.shape == (1, 3, 3, 8)
    first = next(iter(ArraySource(values, layout="NCHW").read([0], 1)))
    assert first.images.shape == (1, 3, 8, 3)
    with pytest.raises(ImageError, match="is not NHW"):
        ArraySource(values, layout="NHW")


@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 2, 8, 8), (4, 8, 8, 5), (1, 4, 3, 8, 8)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"found shape \[.*expected \[N, H, W\]"):
        ArraySource(np.zeros(shape, np.uint8))


def test_no_images() -> None:
    with pytest.raises(ImageError, match="it has no images"):
        ArraySource(np.zeros((0, 8, 8), np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, bool, object, np.complex64, "U1"])
def test_other_dtypes(dtype: Any) -> None:
    with pytest.raises(ImageError, match="expected uint8, or float"):
        ArraySource(np.zeros((2, 8, 8), dtype))


@pytest.mark.parametrize(("value", "words"), [(-1.0, "clamp"), (255.0, "clamp"), (np.nan, "nan")])
def test_bad_values_name_the_image(value: float, words: str) -> None:
    values = np.zeros((9, 4, 4), np.float32)
    values[7, 1, 1] = value
    source = ArraySource(values, name="mine")
    with pytest.raises(ImageError, match=f"mine: image 7: .*{words}"):
        list(source.read([2, 7], 2))
    with pytest.raises(ImageError, match="image 7"):
        _ = source.fingerprint


@pytest.mark.parametrize("labels", [[0, 1], [0.0] * 6, [[0]] * 6, [0, 1, 2, 3, 4, -1], ["a"] * 6])
def test_bad_labels(labels: Any) -> None:
    with pytest.raises(ImageError, match="labels"):
        ArraySource(GRAY, labels)


def test_labels_beyond_the_classes() -> None:
    with pytest.raises(ImageError, match="labels from 0 to 2; expected 0 to 1"):
        ArraySource(GRAY, [0, 1, 2] * 2, classes=["a", "b"])


def test_an_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", GRAY)
    source = load_array(tmp_path / "digits.npy")
    assert source.name == "digits.npy"
    assert source.fingerprint == ArraySource(GRAY).fingerprint


@pytest.mark.parametrize(
    ("arrays", "labelled"),
    [
        ({"anything": GRAY}, False),
        ({"images": GRAY, "other": np.zeros(3)}, False),
        ({"arr_0": GRAY, "arr_1": np.array([0, 1] * 3)}, True),
        ({"images": GRAY, "labels": np.array([0, 1] * 3)}, True),
    ],
)
def test_npz_files(tmp_path: Path, arrays: dict[str, Any], labelled: bool) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    source = load_array(tmp_path / "a.npz")
    assert source.size == 6
    assert (source.labels is not None) is labelled


def test_an_npz_file_without_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))
    with pytest.raises(ImageError, match="holds the arrays mu, sigma; expected one array"):
        load_array(tmp_path / "stats.npz")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    objects = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=objects)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for name in ("a.npy", "a.npz", "raw.npy"):
        with pytest.raises(ImageError, match="pickled objects are never loaded"):
            load_array(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_missing_damaged_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_array(tmp_path / "absent.npy")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"the suffix is '\.pt'"):
        load_array(tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", GRAY)
    for name in ("cut.npy", "cut.npz", "empty.npy", "empty.npz"):
        size = 100 if name.startswith("cut") else 0
        (tmp_path / name).write_bytes((tmp_path / "a.npy").read_bytes()[:size])
        with pytest.raises(ImageError, match="cannot be read"):
            load_array(tmp_path / name)
