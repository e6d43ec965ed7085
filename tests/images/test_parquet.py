import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchgen.errors import ImageError
from benchgen.images.folder import FolderSource
from benchgen.images.parquet import load_parquet
from tests.images.making import excluded, pixels, png, put, same

FILES = {f"{n:02}.png": png(n) for n in range(20)}
NAMES = {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}}


def written(
    path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, rows: int = 6
) -> Path:
    table = pa.table(columns)
    if features is not None:
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=rows)
    return path


def structs(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"bytes": content, "path": name} for name, content in files.items()]


def test_images_as_hugging_face_writes_them(tmp_path: Path) -> None:
    labels = [n % 2 for n in range(20)]
    prompts = [f"prompt {n}" if n else None for n in range(20)]
    columns = {"image": structs(FILES), "label": labels, "text": prompts, "width": [8] * 20}
    source = load_parquet([written(tmp_path / "a.parquet", columns, NAMES)])
    assert same(pixels(source), pixels(FolderSource(put(tmp_path / "photos", FILES))))
    assert source.classes == ("cat", "dog", "emu")
    assert source.labels is not None
    assert source.labels.tolist() == labels
    assert source.columns == {"prompt": tuple(prompts)}


def test_plain_binary_and_rows_as_names(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"jpg": list(FILES.values()), "note": ["x"] * 20})
    source = load_parquet([path])
    assert list(pixels(source, 20))[:2] == ["a.parquet/0", "a.parquet/1"]
    assert source.classes == ()
    assert source.columns == {"note": ("x",) * 20}


@pytest.mark.parametrize("rows", [3, 100])
def test_any_order_of_reading(rows: int, tmp_path: Path) -> None:
    files = {f"{n:03}.png": png(n, side=4) for n in range(300)}
    source = load_parquet([written(tmp_path / "a.parquet", {"i": structs(files)}, rows=rows)])
    expected = pixels(FolderSource(put(tmp_path / "photos", files)))
    order = random.Random(0).sample(range(300), 300)
    found: list[int] = []
    for batch in source.read(order, 16):
        found += batch.indices.tolist()
        for name, image in zip(batch.names, batch.images, strict=True):
            assert torch.equal(image, expected[name])
    assert found == order


def test_several_files_are_one_source(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / f"{n}.parquet", {"image": structs({"0.png": png(n)}), "label": [n]})
        for n in range(3)
    ]
    source = load_parquet(paths)
    assert list(pixels(source)) == ["0.parquet/0", "1.parquet/0", "2.parquet/0"]
    assert source.classes == ("0", "1", "2")
    assert source.fingerprint != load_parquet(paths[::-1]).fingerprint
    written(tmp_path / "2.parquet", {"image": structs({"0.png": png()}), "other": ["x"]})
    with pytest.raises(ImageError, match=r"2\.parquet has the columns image, other; .* has image,"):
        load_parquet(paths)


def test_text_labels_and_labels_that_only_the_metadata_knows(tmp_path: Path) -> None:
    images = structs(dict(list(FILES.items())[:2]))
    path = written(tmp_path / "a.parquet", {"image": images, "label": ["dog", "cat"]})
    assert load_parquet([path]).classes == ("cat", "dog")
    features = {"kind": NAMES["label"]}
    path = written(tmp_path / "b.parquet", {"image": images, "kind": [2, 0]}, features)
    source = load_parquet([path])
    assert source.labels is not None
    assert source.labels.tolist() == [2, 0]


def test_rows_without_image_are_named(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": None}, {"bytes": None, "path": None}, None]
    source = load_parquet([written(tmp_path / "a.parquet", {"image": images})])
    assert [one.index for one in excluded(source).values()] == [1, 2]
    assert "holds no image bytes" in excluded(source)["a.parquet/1"].reason
    assert source.fingerprint


def test_the_image_column_is_chosen_by_name(tmp_path: Path) -> None:
    columns = {"one": [png(1)], "two": [png(2)], "n": [1]}
    path = written(tmp_path / "a.parquet", columns)
    with pytest.raises(ImageError, match="several image columns, one, two; name one"):
        load_parquet([path])
    assert not same(
        pixels(load_parquet([path], column="one")), pixels(load_parquet([path], column="two"))
    )
    with pytest.raises(ImageError, match=r"column 'n' holds no images; .* found one \(binary\)"):
        load_parquet([path], column="n")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": [1]}, r"has no image column; .* found n \(int64\)"),
        ({"image": pa.array([], pa.binary())}, "it has no rows"),
        ({"image": [png(), png()], "label": [1, None]}, "1 of 2 rows have no label"),
        ({"image": [png()], "label": [3]}, "column label holds 3; expected 0 to 2"),
    ],
)
def test_files_that_do_not_fit(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        load_parquet([written(tmp_path / "a.parquet", columns, NAMES)])


def test_what_is_no_parquet_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"image": structs(FILES)})
    content = path.read_bytes()
    for damaged in (b"", b"nonsense", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match="cannot be read as a Parquet file"):
            load_parquet([path])


def test_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"image": structs(FILES)})
    content = path.read_bytes()
    random_ = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        path.write_bytes(damaged)
        try:
            source = load_parquet([path])
        except ImageError:
            continue
        assert len(pixels(source)) + len(excluded(source)) == source.size
