import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import benchgen.images.batches as batches_module
import benchgen.images.encoded as encoded_module
from benchgen.errors import ImageError, UsageError
from benchgen.images.folder import FolderSource
from benchgen.images.source import known_part
from benchgen.images.split import halves, shuffled
from benchgen.paths import cache_dir
from tests.images.making import encoded, excluded, png, put


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that a folder source opens from now on."""
    from benchgen.images import folder

    seen: list[str] = []
    real: Callable[[str, int], int] = folder._open_without_waiting

    def watched(path: str, flags: int) -> int:
        seen.append(Path(path).name)
        return real(path, flags)

    monkeypatch.setattr(folder, "_open_without_waiting", watched)
    return seen


def aged(root: Path, seconds: float = 60) -> Path:
    """Let files look as if they were written a while ago."""
    then = time.time() - seconds
    for path in root.rglob("*.png"):
        os.utime(path, (then, then))
    return root


def folder_of(root: Path, count: int = 10) -> Path:
    return aged(put(root, {f"{number}.png": png(number) for number in range(count)}))


def test_a_second_fingerprint_reads_nothing(tmp_path: Path, reads: list[str]) -> None:
    root = folder_of(tmp_path / "photos")
    first = FolderSource(root).fingerprint
    assert sorted(reads) == [f"{number}.png" for number in range(10)]
    reads.clear()
    assert FolderSource(root).fingerprint == first
    assert reads == []


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    root = folder_of(tmp_path / "photos")
    first = FolderSource(root).fingerprint
    reads.clear()
    (root / "3.png").write_bytes(png(99))
    (root / "5.png").touch()  # the same content with another time
    changed = FolderSource(root).fingerprint
    assert sorted(reads) == ["3.png", "5.png"]
    assert changed != first
    (root / "3.png").write_bytes(png(3))
    assert FolderSource(root).fingerprint == first


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, reads: list[str]) -> None:
    root = folder_of(tmp_path / "photos")
    first = FolderSource(root).fingerprint
    before = (root / "3.png").stat()
    content = bytearray((root / "3.png").read_bytes())
    content[-20] ^= 1
    (root / "3.png").write_bytes(content)
    os.utime(root / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    reads.clear()
    assert FolderSource(root).fingerprint != first
    assert reads == ["3.png"]


def test_a_file_that_was_just_written_is_not_trusted(tmp_path: Path, reads: list[str]) -> None:
    root = folder_of(tmp_path / "photos")
    (root / "3.png").write_bytes(png(3))
    FolderSource(root).fingerprint  # noqa: B018
    reads.clear()
    FolderSource(root).fingerprint  # noqa: B018
    assert reads == ["3.png"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": {"0.png": 1}}'])
def test_damaged_memory_is_as_good_as_none(damage: bytes, tmp_path: Path, reads: list[str]) -> None:
    root = folder_of(tmp_path / "photos")
    first = FolderSource(root).fingerprint
    (memory,) = (cache_dir() / "hashes").iterdir()
    memory.write_bytes(damage)
    reads.clear()
    assert FolderSource(root).fingerprint == first
    assert len(reads) in (9, 10)
    reads.clear()
    assert FolderSource(root).fingerprint == first
    assert reads == []


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "photos")
    (tmp_path / "file").write_text("no folder")
    expected = FolderSource(root).fingerprint
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / "file"))
    assert FolderSource(root).fingerprint == expected


def test_folders_do_not_share_memory(tmp_path: Path) -> None:
    one, other = folder_of(tmp_path / "a"), folder_of(tmp_path / "b")
    assert FolderSource(one).fingerprint == FolderSource(other).fingerprint
    assert len(list((cache_dir() / "hashes").iterdir())) == 2


def test_a_part_changes_with_its_own_images_alone(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos")
    before = FolderSource(root)
    cuts = [(0, 4), (4, 8), (8, 10), (3, 4)]
    parts = [before.part(*cut) for cut in cuts]
    assert len(set(parts)) == 4
    assert known_part(before, 0, 4) == parts[0]
    (root / "5.png").write_bytes(png(99))
    after = FolderSource(root)
    assert [after.part(*cut) == part for cut, part in zip(cuts, parts, strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_a_part_follows_names_labels_columns_and_background(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", 2)
    table = tmp_path / "table.csv"
    parts = {FolderSource(root).part(0, 1), FolderSource(root, background="black").part(0, 1)}
    for text in ("file,label\n0.png,a\n1.png,b", "file,label\n0.png,b\n1.png,a"):
        table.write_text(text)
        parts.add(FolderSource(root, table=table).part(0, 1))
    for column in ("prompt", "group"):
        table.write_text(f"file,{column}\n0.png,x\n1.png,y")
        parts.add(FolderSource(root, table=table).part(0, 1))
    (root / "0.png").rename(root / "00.png")
    parts.add(FolderSource(root).part(0, 1))
    assert len(parts) == 7


@pytest.mark.parametrize("cut", [(-1, 2), (3, 2), (0, 11)])
def test_a_part_beyond_the_source(cut: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there are 10 images"):
        FolderSource(folder_of(tmp_path / "photos")).part(*cut)


def test_halves_and_shuffled_keep_the_parts_that_did_not_change(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", 40)

    def parts() -> list[list[str | None]]:
        source = FolderSource(root)
        views = [*halves(source), shuffled(source)]
        return [[known_part(v, at, at + 5) for at in range(0, v.size or 0, 5)] for v in views]

    before = parts()
    (root / "7.png").write_bytes(png(99))
    after = parts()
    changed = [
        sum(one != other for one, other in zip(old, new, strict=True))
        for old, new in zip(before, after, strict=True)
    ]
    assert sorted(changed[:2]) == [0, 1]
    assert changed[2] == 1


@pytest.mark.parametrize(
    ("background", "expected"),
    [("white", 255), ("black", 0), ("gray", 128), ((9, 9, 9), 9), ("7,7,7", 7), ([5, 5, 5], 5)],
)
def test_transparency_takes_the_declared_background(
    background: str | tuple[int, int, int], expected: int, tmp_path: Path
) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    source = FolderSource(tmp_path, background=background)
    (batch,) = source.read([0], 1)
    assert set(batch.images.flatten().tolist()) == {expected}
    assert batch.flags == (("composited",),)


def test_the_background_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": png()})
    prints = {FolderSource(tmp_path, background=b).fingerprint for b in ("white", "black", "1,2,3")}
    assert len(prints) == 3
    same = FolderSource(tmp_path, background=(255, 255, 255)).fingerprint
    assert same == FolderSource(tmp_path).fingerprint


@pytest.mark.parametrize("background", ["pink", "1,2", "1,2,256", (1, 2), (-1, 0, 0), "", "a,b,c"])
def test_what_is_no_background(background: str | tuple[int, ...], tmp_path: Path) -> None:
    put(tmp_path, {"a.png": png()})
    with pytest.raises(UsageError, match=r"background: found .* expected white, black, gray"):
        FolderSource(tmp_path, background=background)


def test_large_images_make_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "photos")
    monkeypatch.setattr(batches_module, "_BATCH_BYTES", 3 * 8 * 8 * 3)
    monkeypatch.setattr(encoded_module, "_AHEAD_BYTES", 3 * 8 * 8)
    batches = list(FolderSource(root).read(range(10), 64))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_waiting_images_are_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{side}.png": encoded(Image.new("RGB", (side, 8))) for side in range(10, 30)}
    monkeypatch.setattr(batches_module, "_BATCH_BYTES", 1000)
    batches = FolderSource(put(tmp_path, files)).read(range(20), 64)
    assert next(batches).indices.tolist() == [0]


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": png()})
    with open(tmp_path / "b.png", "wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    source = FolderSource(tmp_path)
    assert "1,099,511,627,776 bytes; the most accepted" in excluded(source)["b.png"].reason
    assert source.fingerprint


def test_a_link_to_a_pipe_does_not_hang(tmp_path: Path) -> None:
    put(tmp_path / "photos", {"a.png": png()})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "photos/b.png").symlink_to(tmp_path / "pipe")
    (tmp_path / "photos/c.png").symlink_to("/dev/zero")
    bad = excluded(FolderSource(tmp_path / "photos"))
    assert [one.reason for one in bad.values()] == ["not a regular file"] * 2


def test_a_folder_with_the_name_of_an_image_is_named(tmp_path: Path) -> None:
    put(tmp_path, {"set.png/a.png": png(), "x/b.png": png()})
    (tmp_path / "empty.png").mkdir()
    (tmp_path / "plain").mkdir()
    source = FolderSource(tmp_path)
    assert source.paths == ("empty.png", "set.png/a.png", "x/b.png")
    assert excluded(source)["empty.png"].reason == "cannot be read: Is a directory"


def test_a_file_that_vanishes_after_listing_is_named(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, {"a.png": png(), "b.png": png()}))
    (tmp_path / "b.png").unlink()
    assert excluded(source)["b.png"].reason == "cannot be read: No such file or directory"
    assert torch.equal(next(source.read([0, 1], 1)).indices, torch.tensor([0]))
