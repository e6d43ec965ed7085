from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchgen.errors import ImageError
from benchgen.images.array import ArraySource
from benchgen.images.folder import FolderSource
from benchgen.images.source import Source, known_labels, known_part
from benchgen.images.split import Subset, halves


def numbered(n: int, labels: list[int] | None = None) -> ArraySource:
    """Image i is filled with the value i."""
    values = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 4, 4))
    return ArraySource(values, labels)


def contents(source: Source) -> list[int]:
    assert source.size is not None
    batches = source.read(range(source.size), 7)
    return [int(image[0, 0, 0]) for batch in batches for image in batch.images]


def test_halves_are_disjoint_complete_and_fixed() -> None:
    first, second = halves(numbered(101))
    assert (first.size, second.size) == (51, 50)
    assert sorted(contents(first) + contents(second)) == list(range(101))
    assert [half.fingerprint for half in halves(numbered(101))] == [
        first.fingerprint,
        second.fingerprint,
    ]
    assert first.fingerprint != second.fingerprint


def test_halves_are_not_in_the_order_of_the_source() -> None:
    first, _ = halves(numbered(100))
    front = contents(first)[:25]
    assert 30 < sum(front) / 25 < 70


def test_halves_are_stratified_by_label() -> None:
    labels = [0] * 31 + [1] * 7 + [2] * 1 + [3] * 60
    first, second = halves(numbered(99, labels))
    counts = [torch.bincount(known_labels(half), minlength=4) for half in (first, second)]  # type: ignore[arg-type]
    assert (counts[0] - counts[1]).abs().max() <= 1
    assert first.size == 50
    assert [labels[value] for value in contents(first)] == known_labels(first).tolist()  # type: ignore[union-attr]
    assert first.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("n", [1])
def test_too_few_images(n: int) -> None:
    with pytest.raises(ImageError, match="holds 1 image"):
        halves(numbered(n))


def test_a_source_without_end() -> None:
    class Endless(ArraySource):
        size = None  # type: ignore[assignment]
        name = "endless"

        def __init__(self) -> None:
            pass

    with pytest.raises(ImageError, match="endless has no end"):
        halves(Endless())


def test_a_subset_has_its_own_indices_labels_and_batches() -> None:
    source = numbered(10, list(range(10)))
    subset = Subset(source, [7, 2, 9], "three")
    assert (subset.name, subset.size) == ("three", 3)
    batches = list(subset.read([2, 0], 1))
    assert [batch.indices.tolist() for batch in batches] == [[2], [0]]
    assert [int(batch.images[0, 0, 0, 0]) for batch in batches] == [9, 7]
    assert [batch.labels.tolist() for batch in batches if batch.labels is not None] == [[9], [7]]
    with pytest.raises(ImageError, match="three: image 3 was asked for, but there are 3"):
        list(subset.read([3], 1))


def test_the_fingerprint_of_a_subset_follows_source_and_order() -> None:
    source = numbered(10)
    found = {Subset(source, rows, "x").fingerprint for rows in ([1, 2], [2, 1], [1, 2, 3])}
    found.add(Subset(numbered(11), [1, 2], "x").fingerprint)
    assert len(found) == 4
    assert Subset(source, [1, 2], "y").fingerprint in found


def test_bad_indices() -> None:
    with pytest.raises(ImageError, match="not all different"):
        Subset(numbered(10), [1, 1], "x")
    with pytest.raises(ImageError, match="image 10 was asked for"):
        Subset(numbered(10), [10], "x")


def test_excluded_images_keep_their_place_in_the_subset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")
    subset = Subset(FolderSource(tmp_path), [2, 1], "x")
    (batch,) = subset.read([0, 1], 8)
    assert batch.indices.tolist() == [1]
    assert [(one.index, one.name) for one in batch.excluded] == [(0, "c.png")]


def test_labels_are_known_without_reading_the_folder(tmp_path: Path) -> None:
    for name in ("a/1", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(b"")
    subset = Subset(FolderSource(tmp_path), [2, 0], "x")
    assert known_labels(subset).tolist() == [1, 0]  # type: ignore[union-attr]
    assert "fingerprint" not in vars(subset)


def test_parts_of_a_source_that_does_not_tell_its_own() -> None:
    assert known_part(numbered(4), 0, 2) is None
    assert known_part(halves(numbered(4))[0], 0, 2) is None


def test_the_order_depends_on_the_number_of_images_alone() -> None:
    other = ArraySource(np.random.default_rng(0).integers(0, 256, (101, 4, 4), dtype=np.uint8))
    one = [part._indices for part in halves(numbered(101))]  # type: ignore[attr-defined]
    assert one == [part._indices for part in halves(other)]  # type: ignore[attr-defined]
