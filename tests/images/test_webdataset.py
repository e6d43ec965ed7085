import io
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import benchgen.images.archive as archive_module
import benchgen.images.webdataset as webdataset_module
from benchgen.errors import ImageError
from benchgen.images.folder import FolderSource
from benchgen.images.webdataset import load_tars
from tests.images.making import excluded, pixels, png, put, same

FILES = {f"{'cat' if n % 2 else 'dog'}/{n}.png": png(n) for n in range(8)}
SUFFIX_OF = {"": ".tar", "gz": ".tar.gz", "bz2": ".tbz2", "xz": ".tar.xz"}


def tarred(
    path: Path, files: Mapping[str, bytes], compression: str = "", form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, f"w:{compression}", format=form) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("compression", list(SUFFIX_OF))
@pytest.mark.parametrize("held", [2**20, 0], ids=["held", "streamed"])
def test_a_tar_is_the_folder_that_it_holds(
    compression: str, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset_module, "_HELD_BYTES", held)
    files = dict(sorted(FILES.items()))
    folder = FolderSource(put(tmp_path / "photos", files))
    source = load_tars([tarred(tmp_path / f"a{SUFFIX_OF[compression]}", files, compression)])
    assert source.classes == ("cat", "dog")
    assert same(pixels(source), pixels(folder))
    assert source.fingerprint == folder.fingerprint


@pytest.mark.parametrize("compression", list(SUFFIX_OF))
def test_any_order_of_reading(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset_module, "_HELD_BYTES", 0)
    files = {f"{n:03}.png": png(n, side=4) for n in range(300)}
    source = load_tars([tarred(tmp_path / "a.tar", files, compression)])
    expected = pixels(FolderSource(put(tmp_path / "photos", files)))
    order = random.Random(0).sample(range(300), 300)
    found: list[int] = []
    for batch in source.read(order, 16):
        found += batch.indices.tolist()
        for name, image in zip(batch.names, batch.images, strict=True):
            assert torch.equal(image, expected[name])
    assert found == order


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(form: int, tmp_path: Path) -> None:
    name = "a" * 150 + "/" + "é" * 60 + ".png"
    source = load_tars([tarred(tmp_path / "a.tar", {name: png()}, form=form)])
    assert list(pixels(source)) == [name]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.txt"])
@pytest.mark.parametrize("compression", ["", "gz"])
def test_names_that_lead_out_are_refused(compression: str, name: str, tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"a.png": png(), name: png()}, compression)
    with pytest.raises(ImageError, match="leads out of the archive"):
        load_tars([path])


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("name", ["b.png", "b.bin"])
def test_bombs_are_refused(
    compression: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tarred(tmp_path / "a.tar", {"a.png": png(), name: bytes(10**7)}, compression)
    load_tars([path])  # small ones can do no harm
    monkeypatch.setattr(archive_module, "_BOMB_BYTES", 10**6)
    with pytest.raises(ImageError, match="an archive of images unpacks to no more"):
        load_tars([path])


def test_links_and_devices_are_named(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"a.png": png()})
    with tarfile.open(path, "a") as tar:
        for name, kind in [("s.png", b"2"), ("h.png", b"1"), ("f.png", b"6"), ("d.png", b"5")]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    bad = excluded(load_tars([path]))
    assert {name: one.reason.partition(";")[0] for name, one in bad.items()} == {
        "s.png": "a link",
        "h.png": "a link",
        "f.png": "not a regular file",
    }


@pytest.mark.parametrize("compression", list(SUFFIX_OF))
def test_a_tar_that_is_cut_anywhere_is_refused_or_complete(
    compression: str, tmp_path: Path
) -> None:
    path = tarred(tmp_path / "a.tar", FILES, compression)
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at])
        try:
            source = load_tars([path])
        except ImageError as error:
            assert "cut short" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert len(pixels(source)) == 8
    assert refused > 3


def test_damaged_headers_never_hang_nor_crash(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", FILES)
    content = path.read_bytes()
    random_ = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        header = 512 * random_.randrange(len(content) // 512)
        for _ in range(3):
            damaged[header + random_.randrange(512)] = random_.randrange(256)
        path.write_bytes(damaged)
        try:
            source = load_tars([path])
        except ImageError:
            continue
        assert len(pixels(source)) + len(excluded(source)) == source.size


def test_a_negative_size_does_not_loop(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"a.png": png(), "b.png": b""})
    content = bytearray(path.read_bytes())
    header = content.index(b"b.png")
    content[header + 124 : header + 136] = (-512 % 2**96).to_bytes(12, "big")
    content[header + 124] = 255
    content[header + 148 : header + 156] = b" " * 8
    total = sum(content[header : header + 512])
    content[header + 148 : header + 156] = f"{total:06o}\0 ".encode()
    path.write_bytes(content)
    with pytest.raises(ImageError, match="declares -512 bytes"):
        load_tars([path])


def test_cls_and_txt_files_give_labels_and_prompts(tmp_path: Path) -> None:
    files = {}
    for n in range(3):
        files[f"s/{n}.png"] = png(n)
        files[f"s/{n}.cls"] = b"10\n" if n else b"9"
        files[f"s/{n}.txt"] = f"prompt é {n}\n".encode()
    source = load_tars([tarred(tmp_path / "a.tar", files)])
    assert source.classes == ("9", "10")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1]
    (batch,) = source.read([2, 0], 4)
    assert batch.columns == {"prompt": ("prompt é 2", "prompt é 0")}


def test_json_files_give_label_prompt_and_columns(tmp_path: Path) -> None:
    said = {"cls": "cat", "caption": "a cat", "seed": 3, "box": [1, 2], "note": ""}
    files = {"0.png": png(0), "0.json": json.dumps(said).encode(), "1.png": png(1)}
    files["1.json"] = b'{"label": "dog"}'
    source = load_tars([tarred(tmp_path / "a.tar", files)])
    assert source.classes == ("cat", "dog")
    assert source.columns == {
        "prompt": ("a cat", None),
        "seed": ("3", None),
        "note": (None, None),
    }


def test_several_shards_are_one_source(tmp_path: Path) -> None:
    paths = []
    for shard in range(3):
        files = {}
        for n in range(4):
            files[f"{n}.png"] = png(4 * shard + n)
            files[f"{n}.cls"] = str(shard).encode()
        paths.append(tarred(tmp_path / f"s-{shard}.tar", files, "gz" if shard == 1 else ""))
    source = load_tars(paths)
    assert source.name == "s-0.tar and 2 more"
    assert source.size == 12
    assert source.classes == ("0", "1", "2")
    expected = pixels(FolderSource(put(tmp_path / "f", {f"{n:02}.png": png(n) for n in range(12)})))
    for number, (name, image) in enumerate(pixels(source, 1).items()):
        assert name == f"s-{number // 4}.tar/{number % 4}.png"
        assert torch.equal(image, expected[f"{number:02}.png"])


def test_of_several_images_of_a_key_one_is_named(tmp_path: Path) -> None:
    files = {"0.jpg.png": png(0), "0.seg.png": png(1), "0.cls": b"1"}
    path = tarred(tmp_path / "a.tar", files)
    with pytest.raises(ImageError, match=r"0 has 2 images \(jpg\.png, seg\.png\); say which"):
        load_tars([path])
    assert list(pixels(load_tars([path], column="seg.png"))) == ["0.seg.png"]
    with pytest.raises(ImageError, match=r"no image is called \.jpg; column may be jpg\.png, seg"):
        load_tars([path], column="jpg")


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"0.cls": b"1"}, r"1 of 2 images have no label, 1\.png for example"),
        ({"0.json": b"{"}, r"0\.json is not JSON"),
        ({"0.json": b"[1]"}, "expected an object"),
        ({"0.txt": b"\xff"}, r"0\.txt is not text in UTF-8"),
        ({"0.txt": b"x" * (2**20 + 1)}, r"0\.txt is too long"),
    ],
)
def test_what_lies_beside_must_fit(beside: dict[str, bytes], message: str, tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"0.png": png(), "1.png": png(), **beside})
    with pytest.raises(ImageError, match=message):
        load_tars([path])


def test_text_that_belongs_to_no_image_is_left_aside(tmp_path: Path) -> None:
    source = load_tars([tarred(tmp_path / "a.tar", {**FILES, "readme.txt": b"\xff"})])
    assert source.classes == ("cat", "dog")
    assert source.columns == {}


@pytest.mark.parametrize("content", [b"", b"nonsense" * 200, b"\x1f\x8bnonsense", b"BZh9x"])
def test_what_is_no_tar_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tar cannot be read as a tar file"):
        load_tars([tmp_path / "a.tar"])


def test_a_tar_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"holds no images; it holds a\.bin, b\.txt"):
        load_tars([tarred(tmp_path / "a.tar", {"a.bin": b"x", "b.txt": b"x"})])


def test_a_tar_that_vanishes_names_its_images(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", FILES)
    source = load_tars([path])
    path.unlink()
    assert all("cannot be read" in one.reason for one in excluded(source).values())
    assert len(excluded(source)) == 8
