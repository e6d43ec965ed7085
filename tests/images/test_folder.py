import io
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchgen.errors import ImageError
from benchgen.images.folder import FolderSource


def put(
    path: Path, colour: tuple[int, int, int] = (1, 2, 3), size: tuple[int, int] = (4, 4)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG")


def order_read(source: FolderSource, batch_size: int) -> list[list[int]]:
    batches = source.read(range(source.size), batch_size)
    return [batch.indices.tolist() for batch in batches]


def test_images_are_found_at_any_depth_in_the_stated_order(tmp_path: Path) -> None:
    names = ["b.png", "B.PNG", "a/z.jpg", "a/é.Jpeg", "a-b.png", "a/.hidden.png", ".git/x.png"]
    for name in [*names, "notes.txt"]:
        put(tmp_path / name)
    source = FolderSource(tmp_path)
    assert source.paths == ("B.PNG", "a-b.png", "a/z.jpg", "a/é.Jpeg", "b.png")
    assert source.size == 5
    assert source.name == tmp_path.name
    assert source.classes == ()
    assert source.labels is None


def test_batches_carry_images_names_and_bytes(tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path / f"{number}.png", (number, 10, 20))
    batches = list(FolderSource(str(tmp_path)).read([4, 0, 2], batch_size=2))
    assert [batch.indices.tolist() for batch in batches] == [[4, 0], [2]]
    assert batches[0].images.shape == (2, 3, 4, 4)
    assert batches[0].images[:, :, 0, 0].tolist() == [[4, 10, 20], [0, 10, 20]]
    assert batches[0].names == ("4.png", "0.png")
    assert batches[0].labels is None
    assert batches[0].flags == ((), ())
    assert batches[0].encoded is not None
    assert batches[0].encoded[1] == (tmp_path / "0.png").read_bytes()


def test_class_folders_give_labels(tmp_path: Path) -> None:
    for name in ["dog/1.png", "cat/deep/2.png", "cat/1.png"]:
        put(tmp_path / name)
    source = FolderSource(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.paths == ("cat/1.png", "cat/deep/2.png", "dog/1.png")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1]
    (batch,) = source.read([2, 0], 8)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]


@pytest.mark.parametrize("names", [["cat/1.png", "cat/2.png"], ["cat/1.png", "dog/1.png", "x.png"]])
def test_one_folder_or_a_stray_image_means_no_labels(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        put(tmp_path / name)
    assert FolderSource(tmp_path).classes == ()


def test_mixed_sizes_are_grouped_within_the_look_ahead(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path / f"{number:02}.png", size=(4, 4) if number % 2 else (6, 5))
    batches = list(FolderSource(tmp_path).read(range(12), batch_size=3))
    assert [batch.indices.tolist() for batch in batches] == [
        [0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11],
    ]  # fmt: skip
    assert batches[0].images.shape == (3, 3, 5, 6)


def test_many_sizes_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / f"{number:02}.png", size=(1 + number, 2))
    batches = list(FolderSource(tmp_path).read(range(20), batch_size=2))
    assert [batch.indices.tolist() for batch in batches] == [[number] for number in range(20)]


def test_unreadable_images_are_reported_with_path_and_reason(tmp_path: Path) -> None:
    put(tmp_path / "a/0-good.png")
    (tmp_path / "a/1-empty.png").write_bytes(b"")
    (tmp_path / "a/2-text.png").write_text("not an image")
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "PNG")
    (tmp_path / "a/3-cut.png").write_bytes(whole.getvalue()[:900])
    (tmp_path / "a/4-link.png").symlink_to(tmp_path / "nowhere.png")
    put(tmp_path / "b/5-good.png")
    source = FolderSource(tmp_path)
    batches = list(source.read(range(source.size), batch_size=10))
    assert [index for batch in batches for index in batch.indices.tolist()] == [0, 5]
    excluded = {one.name: one for batch in batches for one in batch.excluded}
    assert [one.index for one in excluded.values()] == [1, 2, 3, 4]
    assert "zero bytes" in excluded["a/1-empty.png"].reason
    assert "not an image" in excluded["a/2-text.png"].reason
    assert "truncated" in excluded["a/3-cut.png"].reason
    assert "cannot be read" in excluded["a/4-link.png"].reason
    assert len(source.fingerprint) == 64


def test_nothing_but_unreadable_images_gives_an_empty_batch(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    (batch,) = FolderSource(tmp_path).read([0], 4)
    assert batch.images.shape[0] == 0
    assert len(batch.excluded) == 1


def test_flags_say_what_decoding_changed(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (batch,) = FolderSource(tmp_path).read([0], 1)
    assert batch.flags == (("composited",),)


def test_the_fingerprint_follows_content_and_paths_alone(tmp_path: Path) -> None:
    put(tmp_path / "one/a.png")
    put(tmp_path / "one/b.png", (9, 9, 9))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/notes.txt").write_text("ignored")
    first = FolderSource(tmp_path / "one").fingerprint
    assert FolderSource(tmp_path / "two").fingerprint == first
    (tmp_path / "two/b.png").rename(tmp_path / "two/c.png")
    assert FolderSource(tmp_path / "two").fingerprint != first
    put(tmp_path / "one/b.png", (9, 9, 8))
    assert FolderSource(tmp_path / "one").fingerprint != first


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path / "outside/o.png")
    put(tmp_path / "root/real/r.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "outside")
    (tmp_path / "root/again").symlink_to(tmp_path / "root/real")
    (tmp_path / "root/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/up").symlink_to(tmp_path)
    (tmp_path / "outside/back").symlink_to(tmp_path / "outside")
    assert FolderSource(tmp_path / "root").paths == ("linked/o.png", "real/r.png")


def test_names_that_are_not_utf8_can_be_read_and_printed(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    try:
        (tmp_path / "good.png").rename(tmp_path / os.fsdecode(b"b\xffd.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    source = FolderSource(tmp_path)
    (batch,) = source.read([0], 1)
    assert batch.names == ("b\N{REPLACEMENT CHARACTER}d.png",)
    assert source.fingerprint


def test_a_pipe_with_an_image_name_does_not_hang(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert FolderSource(tmp_path).paths == ("a.png",)


def test_stopping_early_ends_the_threads(tmp_path: Path) -> None:
    for number in range(50):
        put(tmp_path / f"{number:02}.png")
    batches = FolderSource(tmp_path).read(range(50), 2)
    assert next(batches).indices.tolist() == [0, 1]
    batches.close()  # type: ignore[attr-defined]


def test_order_of_batches_is_that_of_the_indices(tmp_path: Path) -> None:
    for number in range(7):
        put(tmp_path / f"{number}.png")
    assert order_read(FolderSource(tmp_path), 3) == [[0, 1, 2], [3, 4, 5], [6]]


def test_errors_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such folder"):
        FolderSource(tmp_path / "absent")
    (tmp_path / "file.png").write_bytes(b"x")
    with pytest.raises(ImageError, match="is a file; expected a folder"):
        FolderSource(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"found no files; expected files with \.bmp"):
        FolderSource(tmp_path / "empty")
    for name in ["a.txt", "b.TXT", "c.svg", "README"]:
        (tmp_path / "empty" / name).write_text("x")
    with pytest.raises(ImageError, match=r"\.txt \(2\), .*; expected files with \.bmp"):
        FolderSource(tmp_path / "empty")


@pytest.mark.parametrize("index", [-1, 1])
def test_an_index_beyond_the_folder(tmp_path: Path, index: int) -> None:
    put(tmp_path / "a.png")
    with pytest.raises(ImageError, match=rf"image {index} was asked for, but there are 1"):
        list(FolderSource(tmp_path).read([index], 1))


def test_pixels_do_not_depend_on_batch_size(tmp_path: Path) -> None:
    for number in range(9):
        Image.effect_noise((8, 8), 90).save(tmp_path / f"{number}.png")
    source = FolderSource(tmp_path)
    one = torch.cat([batch.images for batch in source.read(range(9), 1)])
    many = torch.cat([batch.images for batch in source.read(range(9), 4)])
    assert torch.equal(one, many)
