"""Labels from a run's columns and a user's tables; bad ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchgen.audits.labels import (
    Columns,
    columns_of,
    confusion_on,
    kinds_of,
    labels_of,
    read_confusion,
)
from benchgen.errors import BenchgenError, ImageError, MetricError, UsageError
from benchgen.images.table import read_table

FRAME = pd.DataFrame(
    {
        "name": ["a.png", "b.png", "c.png"],
        "shape": ["ring", None, "star"],
        "size": [1.0, 2.0, 3.0],
    }
)


def table(tmp_path: Path, text: str) -> Columns:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return columns_of("gan", FRAME, read_table(path), alone=True)


def test_readings_are_positions_and_missing_ones_unknown() -> None:
    found = labels_of(Columns("gan", FRAME, {}), "shape", ("ring", "star"))
    assert found.values.tolist() == [0, -1, 1]
    assert found.labeler == "the run"
    assert kinds_of([Columns("gan", FRAME, {})], "shape") == ("ring", "star")


def test_a_table_comes_before_the_run_and_may_be_silent(tmp_path: Path) -> None:
    columns = table(tmp_path, "file,shape\nb.png,ring\nc.png,unknown\n")
    assert labels_of(columns, "shape", ("ring", "star")).values.tolist() == [-1, 0, -1]


def test_probabilities_name_the_likeliest(tmp_path: Path) -> None:
    columns = table(tmp_path, "file,tone=dark,tone=light\na.png,0.9,0.1\nb.png,0.2,0.8\n")
    found = labels_of(columns, "tone", ("dark", "light"))
    assert found.values.tolist() == [0, 1, -1]
    assert "likeliest" in found.labeler


def test_combinations_of_attributes(tmp_path: Path) -> None:
    columns = table(tmp_path, "file,tone\na.png,dark\nb.png,light\nc.png,dark\n")
    found = labels_of(columns, "shape & tone", ("ring & dark", "star & dark"))
    assert found.values.tolist() == [0, -1, 1]


@pytest.mark.parametrize("cells", ["0.9,0.3", "1.5,-0.5", "x,0.1", "0.5,"])
def test_probabilities_that_do_not_sum_to_one_are_refused(tmp_path: Path, cells: str) -> None:
    columns = table(tmp_path, f"file,tone=dark,tone=light\na.png,{cells}\n")
    with pytest.raises(ImageError, match=r"labels.csv: the probabilities of tone of a.png"):
        columns.texts("tone")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,tone\nzzz.png,dark\n", "1 files are not among the images of gan: zzz.png"),
        ("file,tone\na.png,dark\na.png,light\n", "line 3: a.png has a row already"),
        ("tone\ndark\n", "expected names of columns, each once, with 'file'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        table(tmp_path, text)


def test_several_generators_need_a_column(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,tone\na.png,dark\n")
    with pytest.raises(ImageError, match="add a column 'generator'"):
        columns_of("gan", FRAME, read_table(path), alone=False)
    path.write_text("file,generator,tone\na.png,gan,dark\nq.png,vae,light\n")
    columns = columns_of("gan", FRAME, read_table(path), alone=False)
    assert columns.given == {"tone": ["dark", None, None]}


def test_what_is_no_attribute_is_named() -> None:
    columns = Columns("gan", FRAME, {})
    with pytest.raises(UsageError, match="no attribute 'colour'; it has: name, shape, size"):
        columns.texts("colour")
    with pytest.raises(UsageError, match="column of numbers"):
        columns.texts("size")
    with pytest.raises(UsageError, match="shape of gan is 'star' in an image"):
        labels_of(columns, "shape", ("ring", "cross"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("true,guess\na,a\n", "no column read"),
        ("true,read\na,q\n", "line 2: 'q' is none of the kinds a, b"),
        ("true,read\n", "holds no line"),
        ("true,read\na,a\na,b\n", "no image that truly is b"),
        ("true,read\na,a\n,b\n", "has no true kind"),
    ],
)
def test_calibrations_that_do_not_fit_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises((ImageError, MetricError), match=told):
        read_confusion(path, ("a", "b"))
    with pytest.raises(BenchgenError, match="cannot be read"):
        read_confusion(tmp_path / "none.csv", ("a", "b"))


def test_real_images_whose_source_knows_the_kind_calibrate() -> None:
    real = pd.DataFrame(
        {
            "name": list("wxyz"),
            "tone": ["dark", "dark", "light", None],
            "tone@net": ["dark", "light", None, "dark"],
        }
    )
    found = confusion_on(Columns("real", real, {}), "tone", ("dark", "light"))
    assert found.counts.tolist() == [[1, 1, 0], [0, 0, 1]]
    with pytest.raises(UsageError, match="whose source knows shape"):
        confusion_on(Columns("real", real, {}), "shape", ("dark", "light"))
    with pytest.raises(UsageError, match="the columns of these are: none"):
        confusion_on(None, "tone", ("dark", "light"))


def test_a_calibration_counts_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("true,read\na,a\na,b\na,unknown\nb,b\n")
    assert read_confusion(path, ("a", "b")).counts.tolist() == [[1, 1, 1], [0, 1, 0]]
