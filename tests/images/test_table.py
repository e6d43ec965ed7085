import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchgen.errors import ImageError
from benchgen.images.array import load_array
from benchgen.images.folder import FolderSource
from benchgen.images.split import Subset
from tests.images.making import png, put

CSV = 'file,label,prompt,group,seed\nb/1.png,cat,"a cat, red",g1,7\na/1.png,dog,,g2,8\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put(tmp_path / "photos", {"a/1.png": png(1), "b/1.png": png(2)})


def write(tmp_path: Path, content: str, name: str = "table.csv") -> Path:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path / name


def check(source: FolderSource) -> None:
    assert source.classes == ("cat", "dog")
    (batch,) = source.read([0, 1], 4)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    assert batch.columns == {
        "prompt": (None, "a cat, red"),
        "group": ("g2", "g1"),
        "seed": ("8", "7"),
    }


def test_a_csv_table_gives_labels_prompts_and_further_columns(root: Path, tmp_path: Path) -> None:
    check(FolderSource(root, table=write(tmp_path, CSV)))
    check(FolderSource(root, table=write(tmp_path, "\ufeff" + CSV)))


LINES = [
    {"file": "b/1.png", "label": "cat", "prompt": "a cat, red", "group": "g1", "seed": 7},
    {"file": "a/1.png", "label": "dog", "prompt": None, "group": "g2", "seed": 8},
]


def test_a_jsonl_table_says_the_same(root: Path, tmp_path: Path) -> None:
    text = "\n".join(json.dumps(line) for line in LINES)
    check(FolderSource(root, table=write(tmp_path, text + "\n\n", "table.jsonl")))


def test_a_parquet_table_says_the_same(root: Path, tmp_path: Path) -> None:
    pd.DataFrame(LINES).to_parquet(tmp_path / "table.parquet")
    check(FolderSource(root, table=tmp_path / "table.parquet"))


def test_a_parquet_table_that_does_not_fit(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(ImageError, match=r"t\.parquet is not a Parquet table"):
        FolderSource(root, table=path)
    pd.DataFrame({"label": ["x"]}).to_parquet(path)
    with pytest.raises(ImageError, match="line 1: no file is named"):
        FolderSource(root, table=path)
    pd.DataFrame({"file": ["a/1.png"], "pixels": [b"x"]}).to_parquet(path)
    with pytest.raises(ImageError, match=r"row 1: .*bytes.*; expected text, numbers"):
        FolderSource(root, table=path)


def test_without_labels_the_folders_are_the_classes(root: Path, tmp_path: Path) -> None:
    source = FolderSource(root, table=write(tmp_path, "file,prompt\na/1.png,x\nb/1.png,y"))
    assert source.classes == ("a", "b")
    assert source.columns == {"prompt": ("x", "y")}


def test_columns_are_handed_on_by_parts(root: Path, tmp_path: Path) -> None:
    source = FolderSource(root, table=write(tmp_path, CSV))
    (batch,) = Subset(source, [1], "part").read([0], 1)
    assert batch.columns["group"] == ("g1",)


def test_numbers_as_labels_keep_their_order(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", {f"{n}.png": png(n) for n in range(3)})
    table = write(tmp_path, "file,label\n0.png,10\n1.png,9\n2.png,10")
    source = FolderSource(root, table=table)
    assert source.classes == ("9", "10")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1]


def test_an_array_is_described_by_number(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 5, 4), dtype=np.uint8))
    table = write(tmp_path, "file,label,prompt\n2,x,p2\n0,y,p0\n1,x,p1")
    source = load_array(tmp_path / "a.npy", table=table)
    assert source.classes == ("x", "y")
    (batch,) = source.read([2, 0], 4)
    assert batch.columns == {"prompt": ("p2", "p0")}
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1]
    assert source.fingerprint != load_array(tmp_path / "a.npy").fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na/1.png,x", r"1 files have no row in it: b/1\.png"),
        ("file,label\na/1.png,x\nb/1.png,y\nc.png,z", r"1 files are in it, but .*: c\.png"),
        ("file,label\na/1.png,x\nb/1.png,", r"1 files have no label: b/1\.png"),
        ("file,label\na/1.png,x\na/1.png,y", r"line 3: a/1\.png has a row already"),
        ("file,label\na/1.png", r"line 2: found 1 cells; expected 2 \(file,label\)"),
        ("file,label\n,x", "line 2: no file is named"),
        ("name,label\na/1.png,x", r"first line is 'name,label'; .* 'file' among them"),
        ("file,label,label\na,b,c", "each once"),
        ("", "expected names of columns"),
        ('file\n"a/1.png', "is not a table"),
    ],
)
def test_a_csv_table_that_does_not_fit(
    content: str, message: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=message):
        FolderSource(root, table=write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "line 1 is not JSON"),
        ("[1]", "line 1: expected an object"),
        ('{"label": "x"}', "line 1: no file is named"),
        ("[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_a_jsonl_table_that_does_not_fit(
    content: str, message: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=message):
        FolderSource(root, table=write(tmp_path, content, "t.jsonl"))


def test_what_is_no_table(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"suffix is '\.xlsx'; a table is \.csv, \.jsonl"):
        FolderSource(root, table=write(tmp_path, "x", "t.xlsx"))
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        FolderSource(root, table=tmp_path / "absent.csv")
    (tmp_path / "t.csv").write_bytes(b"file,label\n\xff\xfe,x")
    with pytest.raises(ImageError, match="in UTF-8"):
        FolderSource(root, table=tmp_path / "t.csv")
