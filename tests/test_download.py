import hashlib
from pathlib import Path

import pytest

from benchgen.download import DownloadError, download, file_digest

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "remote.bin"
    path.write_bytes(CONTENT)
    return path.as_uri()


def test_a_download_arrives_whole_in_a_new_folder(url: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    download(url, target, "sha256", hashlib.sha256(CONTENT).hexdigest().upper())
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert file_digest(target, "md5") == hashlib.md5(CONTENT).hexdigest()


def test_another_hash_leaves_the_old_file_and_nothing_else(url: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file.bin"
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(DownloadError, match=r"2,560,000 bytes with sha256 .*; expected 0000"):
        download(url, target, "sha256", "0" * 64)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_an_unreachable_url_is_one_error(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file.bin"
    with pytest.raises(DownloadError, match="could not be fetched"):
        download((tmp_path / "absent").as_uri(), target, "md5", "0" * 32)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_error(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(url, tmp_path / "file" / "x.bin", "md5", "0" * 32)
