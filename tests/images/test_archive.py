import stat
import struct
import zipfile
from pathlib import Path

import pytest

import benchgen.images.archive as archive_module
import benchgen.images.encoded as encoded_module
from benchgen.errors import ImageError
from benchgen.images.archive import load_zip
from benchgen.images.folder import FolderSource
from tests.images.making import excluded, pixels, png, put, same

FILES = {f"{'cat' if n % 2 else 'dog'}/{n}.png": png(n) for n in range(8)}


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["stored", "deflated", "bzip2", "lzma"],
)
def test_a_zip_is_the_folder_that_it_holds(method: int, tmp_path: Path) -> None:
    folder = FolderSource(put(tmp_path / "photos", FILES))
    archive = load_zip(zipped(tmp_path / "photos.zip", dict(reversed(FILES.items())), method))
    assert archive.name == "photos.zip"
    assert archive.classes == ("cat", "dog")
    assert same(pixels(archive), pixels(folder))
    assert archive.fingerprint == folder.fingerprint
    assert archive.part(2, 5) == folder.part(2, 5)


def test_any_order_of_reading(tmp_path: Path) -> None:
    archive = load_zip(zipped(tmp_path / "a.zip", FILES))
    order = [5, 0, 7, 2, 1]
    assert [i for b in archive.read(order, 2) for i in b.indices.tolist()] == order


def test_what_is_no_image_is_left_aside_and_a_shared_folder_is_no_class(tmp_path: Path) -> None:
    files = {f"all/photos/{name}": content for name, content in FILES.items()}
    files |= {"all/readme.txt": b"x", "__MACOSX/._1.png": b"x", ".hidden/1.png": b"x"}
    archive = load_zip(zipped(tmp_path / "a.zip", files))
    assert archive.size == 8
    assert archive.classes == ("cat", "dog")
    assert "all/photos/cat/1.png" in pixels(archive)


def test_a_flat_archive_has_no_classes(tmp_path: Path) -> None:
    archive = load_zip(zipped(tmp_path / "a.zip", {"a.png": png(), "./b.png": png()}))
    assert archive.classes == ()
    assert sorted(pixels(archive)) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "../x.txt"]
)
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(), name: png()})
    with pytest.raises(ImageError, match="leads out of the archive"):
        load_zip(path)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "b.png": bytes(10**7)})
    load_zip(path)  # small ones can do no harm
    monkeypatch.setattr(archive_module, "_BOMB_BYTES", 10**6)
    with pytest.raises(ImageError, match=r"unpacks to 10,000,\d+ or more"):
        load_zip(path)


def test_an_image_of_absurd_size_is_named_and_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_module, "MAX_BYTES", 10**6)
    archive = load_zip(zipped(tmp_path / "a.zip", {"a.png": png(), "b.png": bytes(10**7)}))
    assert "10,000,000 bytes; the most accepted" in excluded(archive)["b.png"].reason
    assert list(pixels(archive)) == ["a.png"]


def test_a_size_that_is_declared_too_small_is_found_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(), "b.png": bytes(10**6)})
    content = path.read_bytes()
    declared = struct.pack("<I", 10**6)
    assert content.count(declared) == 2
    path.write_bytes(content.replace(declared, struct.pack("<I", 100)))
    assert "damaged in the archive" in excluded(load_zip(path))["b.png"].reason


def test_links_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", png())
    assert "a link" in excluded(load_zip(path))["link.png"].reason


def test_encrypted_members_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png()}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in excluded(load_zip(path))["a.png"].reason


def test_unknown_compression_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png()}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 93
    path.write_bytes(content)
    assert "not supported" in excluded(load_zip(path))["a.png"].reason


def test_damaged_content_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(FILES["cat/3.png"]) + 60] ^= 255
    path.write_bytes(content)
    archive = load_zip(path)
    assert list(excluded(archive)) == ["cat/3.png"]
    assert len(pixels(archive)) == 7


def test_of_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(1)})
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.png", png(2))
    expected = pixels(FolderSource(put(tmp_path / "photos", {"a.png": png(2)})))
    assert same(pixels(load_zip(path)), expected)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x05\x06", b"PK\x03\x04" + bytes(50)])
def test_what_is_no_zip_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.zip cannot be read as a zip file"):
        load_zip(tmp_path / "a.zip")


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match="cut short"):
        load_zip(path)


def test_a_zip_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"holds no images; it holds a\.txt, b\.txt"):
        load_zip(zipped(tmp_path / "a.zip", {"a.txt": b"", "b.txt": b""}))
