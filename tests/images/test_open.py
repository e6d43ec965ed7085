import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchgen.errors import SuiteError, UsageError
from benchgen.images.folder import FolderSource
from benchgen.images.open import open_images_at
from tests.images.making import pixels, png, put, same
from tests.images.test_archive import zipped
from tests.images.test_webdataset import tarred

FILES = {f"{n}.png": png(n) for n in range(4)}


def parquet(path: Path, files: dict[str, bytes]) -> Path:
    rows = [{"bytes": content, "path": name} for name, content in files.items()]
    pq.write_table(pa.table({"image": rows}), path)
    return path


def test_one_opener_for_all_that_holds_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", FILES)
    zipped(tmp_path / "a.ZIP", FILES)
    for suffix, kind in [("tar", ""), ("tar.gz", "gz"), ("tgz", "gz"), ("tar.xz", "xz")]:
        tarred(tmp_path / f"a.{suffix}", FILES, kind)
    parquet(tmp_path / "a.parquet", FILES)
    expected = FolderSource(folder)
    for name in ("photos", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.parquet"):
        source = open_images_at(str(tmp_path / name), where="reference")
        assert same(pixels(source), pixels(expected)), name
        assert source.fingerprint == expected.fingerprint, name


def test_arrays(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", images)
    for name in ("a.npy", "a.npz"):
        assert open_images_at(str(tmp_path / name), where="x").size == 3


def test_folders_of_shards(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / "tars").mkdir(exist_ok=True)
        tarred(tmp_path / f"tars/{n}.tar", {f"{n}.png": png(n)})
        (tmp_path / "data/data").mkdir(exist_ok=True, parents=True)
        parquet(tmp_path / f"data/data/train-{n:05}-of-00002.parquet", {f"{n}.png": png(n)})
    assert open_images_at(str(tmp_path / "tars"), where="x").size == 2
    assert open_images_at(str(tmp_path / "data"), where="x").size == 2
    parquet(tmp_path / "data/data/test-00000-of-00001.parquet", {"t.png": png(9)})
    with pytest.raises(SuiteError, match=r"several splits, test, train; name .*/data/test-\*\.par"):
        open_images_at(str(tmp_path / "data"), where="x")
    pattern = str(tmp_path / "data/data/train-*.parquet")
    assert open_images_at(pattern, where="x").size == 2


def test_a_range_of_shards(tmp_path: Path) -> None:
    for n in range(8, 12):
        tarred(tmp_path / f"s-{n:03}.tar", {f"{n}.png": png(n)})
    source = open_images_at(str(tmp_path / "s-{009..011}.tar"), where="x")
    assert list(pixels(source)) == [f"s-{n:03}.tar/{n}.png" for n in (9, 10, 11)]
    for wrong in ("s-{11..9}.tar", "s-{0..999999999}.tar"):
        with pytest.raises(SuiteError, match="names no files, or more than 100,000"):
            open_images_at(str(tmp_path / wrong), where="x")


def test_arguments_reach_the_source(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    (tmp_path / "photos").mkdir()
    clear.save(tmp_path / "photos/a.png")
    (tmp_path / "t.csv").write_text("file,prompt\na.png,hello")
    archive = zipped(tmp_path / "a.zip", {"a.png": (tmp_path / "photos/a.png").read_bytes()})
    for path in (tmp_path / "photos", archive):
        source = open_images_at(str(path), table=tmp_path / "t.csv", background="black", where="x")
        (batch,) = source.read([0], 1)
        assert batch.images.max() == 0
        assert batch.columns == {"prompt": ("hello",)}


def test_code_runs_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile_images.py").write_text(
        "import numpy, pathlib\npathlib.Path('ran').touch()\n"
        "def make(n=2):\n    return numpy.zeros((n, 4, 5), dtype='uint8')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UsageError, match=r"reference: hostile_images:make .* --trust-code"):
        open_images_at("hostile_images:make", where="reference")
    assert not Path("ran").exists()
    source = open_images_at(
        "hostile_images:make", parameters={"n": 3}, trust_code=True, where="reference"
    )
    assert source.size == 3


def test_a_file_called_like_a_callable_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a:b", FILES)
    monkeypatch.chdir(tmp_path)
    assert open_images_at("a:b", where="x").size == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent", r"reference: there is nothing at .*absent; expected a folder of images, a file"),
        ("absent-*.tar", "there is nothing at"),
        ("a.rar", r"has the suffix '\.rar'; expected .*\.zip, \.tar, .*\.parquet"),
        ("mixed*", "several kinds"),
        ("two*.zip", r"names 2 files; expected one \.zip file"),
    ],
)
def test_what_is_not_known(text: str, message: str, tmp_path: Path) -> None:
    for name in ("a.rar", "mixed.zip", "mixed.tar", "two-1.zip", "two-2.zip"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SuiteError, match=message):
        open_images_at(str(tmp_path / text), where="reference")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("photos", {"column": "image"}),
        ("a.zip", {"column": "image"}),
        ("photos", {"parameters": {"n": 1}}),
        ("os:getcwd", {"table": "t.csv"}),
        ("os:getcwd", {"column": "image"}),
    ],
)
def test_arguments_that_do_not_apply(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    put(tmp_path / "photos", FILES)
    zipped(tmp_path / "a.zip", FILES)
    text = name if ":" in name else os.fspath(tmp_path / name)
    with pytest.raises(UsageError, match=r"reference\.\w+: .* takes? none"):
        open_images_at(text, where="reference", **options)
