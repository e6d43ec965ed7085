"""Labels, prompts and groups of images from a table beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchgen.errors import ImageError
from benchgen.images.labelling import Columns, Labelling, numbered, printable

_EXAMPLES = 3
_KINDS = ".csv, .jsonl with one object a line, or .parquet"


@dataclass(frozen=True)
class Table:
    """What a table says of each file: rows by file name, each with the same columns."""

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str | None]]

    def applied(self, names: Sequence[str], own: Labelling) -> Labelling:
        """The labelling of these files: the table's, and where it is silent their own.

        Raises:
            ImageError: Files without a row, rows without a file, or files without a label.
        """
        named = [printable(name) for name in names]
        self._refuse(set(named) - self.rows.keys(), "have no row in it")
        self._refuse(self.rows.keys() - set(named), "are in it, but not among the images")
        rows = [self.rows[name] for name in named]
        classes, labels = own.classes, own.labels
        if "label" in self.columns:
            given = {name: row["label"] for name, row in zip(named, rows, strict=True)}
            self._refuse({name for name, label in given.items() if label is None}, "have no label")
            classes, labels = numbered([label for label in given.values() if label is not None])
        columns: Columns = {
            column: tuple(row[column] for row in rows)
            for column in self.columns
            if column != "label"
        }
        return Labelling(classes, labels, {**own.columns, **columns})

    def _refuse(self, files: set[str], what: str) -> None:
        if files:
            shown = ", ".join(sorted(files)[:_EXAMPLES])
            more = ", ..." if len(files) > _EXAMPLES else ""
            raise ImageError(f"{self.path}: {len(files)} files {what}: {shown}{more}")


def read_table(path: str | Path) -> Table:
    """Read a CSV, JSONL or Parquet table of images.

    The column ``file`` names each image once: its path relative to the folder, or its name in the
    archive, written with ``/``; in an array, its number from 0. ``label`` names its class.
    ``prompt``, ``group`` and all others are kept as text. Empty cells and null mean: not known.

    Raises:
        ImageError: No such file, another suffix, not UTF-8, no column ``file``, a file named
            twice, or a line that does not fit.
    """
    path = Path(path).expanduser()
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ImageError(f"{path}: the suffix is {path.suffix!r}; a table is {_KINDS}")
    try:
        found = list(read(path))
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; a table is {_KINDS}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path} is not a table: {error}; it must be {_KINDS}, in UTF-8") from None
    columns = tuple(dict.fromkeys(name for _, row in found for name in row if name != "file"))
    rows: dict[str, Mapping[str, str | None]] = {}
    for line, row in found:
        file = row.get("file")
        if not file:
            raise ImageError(f"{path}, line {line}: no file is named; fill the column 'file'")
        if file in rows:
            raise ImageError(f"{path}, line {line}: {file} has a row already; leave one out")
        rows[file] = {name: row.get(name) for name in columns}
    return Table(path, columns, rows)


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        head = [name.strip() for name in next(reader, [])]
        if "file" not in head or "" in head or len(set(head)) < len(head):
            raise ImageError(
                f"{path}: the first line is {','.join(head)!r}; expected names of columns, each "
                "once, with 'file' among them"
            )
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(head):
                raise ImageError(
                    f"{path}, line {reader.line_num}: found {len(cells)} cells; expected "
                    f"{len(head)} ({','.join(head)})"
                )
            values = [cell or None for cell in cells]
            yield reader.line_num, dict(zip(head, values, strict=True))


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ImageError(f"{path}, line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ImageError(f'{path}, line {number}: expected an object, {{"file": ...}}')
            yield number, {str(name): as_text(value) for name, value in row.items()}


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ImageError(f"{path} is not a Parquet table: {error}") from None
    for number, row in enumerate(table.to_pylist(), 1):
        try:
            yield number, {name: as_text(value) for name, value in row.items()}
        except TypeError as error:
            raise ImageError(
                f"{path}, row {number}: {error}; expected text, numbers or true and false"
            ) from None


_READERS = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}


def as_text(value: Any) -> str | None:
    """A JSON value as the text of a column: strings as they are, null, "" and NaN as None."""
    if value is None or value == "" or value != value:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
