"""Parquet files with an image column as a source."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.encoded import EncodedSource, FetchError, checked_size
from benchgen.images.hashes import Stamp, stamp_of
from benchgen.images.labelling import Labelling, numbered
from benchgen.images.parquet_columns import (
    class_names,
    image_column,
    is_text,
    label_column,
    light_columns,
)

_PROMPT_COLUMNS = ("prompt", "text", "caption")
# Rows are read so many at a time, whatever the size of the row groups.
_ROWS = 32


def load_parquet(
    paths: Sequence[str | Path],
    *,
    column: str | None = None,
    table: str | Path | None = None,
    background: str | Sequence[int] = "white",
) -> EncodedSource:
    """Open one or several Parquet files with a column of encoded images.

    The image column holds structs ``{bytes, path}``, as Hugging Face's ``datasets`` writes them,
    or plain binary. An integer or text column ``label`` (or ``labels``, ``class``,
    ``fine_label``), or else the one that the ``huggingface`` metadata calls a ClassLabel, gives
    the classes, with their names from the metadata where these are there. Text columns are kept;
    where none is called ``prompt``, ``text`` or ``caption`` serves. Images are read a few rows at
    a time, in rising order; reading in another order reads their row groups again, once for every
    256 images.

    Args:
        paths: The files, with the same columns each, in order.
        column: The name of the image column, where there are several.
        table: See ``EncodedSource``.
        background: See ``EncodedSource``.

    Raises:
        ImageError: A file that is missing or damaged, without image column or with several, or
            without rows; columns that differ; labels that are missing.
    """
    return EncodedSource(
        _ParquetFiles([Path(path) for path in paths], column), table=table, background=background
    )


class _ParquetFiles:
    rising = True

    def __init__(self, paths: Sequence[Path], column: str | None) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._reading: tuple[int, int, Iterator[bytes | None]] | None = None
        self._groups: list[_Group] = []
        self._stamps: list[Stamp] = []
        tables = []
        for at, path in enumerate(paths):
            with _blamed(path):
                self._stamps.append(stamp_of(path))
            with _blamed(path), pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                self._column = image_column(path, schema, column)
                wanted = light_columns(schema, self._column)
                tables.append(file.read(columns=wanted) if wanted else None)
                self._add_groups(at, file.metadata)
                if at == 0:
                    self._schema = schema
                elif schema.names != self._schema.names:
                    raise ImageError(
                        f"{path} has the columns {', '.join(schema.names)}; {paths[0]} has "
                        f"{', '.join(self._schema.names)}; open files with the same columns"
                    )
        if not self._groups:
            raise ImageError(f"{paths[0]} holds no images: it has no rows")
        self.names = self._names(tables)
        self.labelling = self._labelling(tables)

    @property
    def name(self) -> str:
        more = f" and {len(self._paths) - 1} more" if len(self._paths) > 1 else ""
        return self._paths[0].name + more

    @cached_property
    def place(self) -> str:
        files = "\n".join(os.path.realpath(path) for path in self._paths)
        return f"{files}\n{self._column}"

    def fetch(self, index: int) -> bytes:
        with self._lock:
            try:
                found = self._row(index)
            except Exception as error:  # damaged files raise almost any type
                self._reading = None
                raise FetchError(f"damaged in the file: {error}") from error
        if found is None:
            raise FetchError("the row holds no image bytes")
        checked_size(len(found))
        return found

    def stamp(self, index: int) -> Stamp | None:
        return self._stamps[self._group_of(index).file]

    def _add_groups(self, file: int, metadata: Any) -> None:
        for number in range(metadata.num_row_groups):
            start = self._groups[-1].stop if self._groups else 0
            rows = metadata.row_group(number).num_rows
            if rows:
                self._groups.append(_Group(file, number, start, start + rows))

    def _group_of(self, index: int) -> _Group:
        return self._groups[bisect_right(self._groups, index, key=lambda group: group.start) - 1]

    def _row(self, index: int) -> bytes | None:
        """One image's bytes: going on where the last one was, or from its row group's start."""
        group = self._group_of(index)
        going = self._reading
        if going is None or going[0] != group.start or going[1] > index:
            going = (group.start, group.start, self._stream(group))
        at, stream = going[1], going[2]
        self._reading = None
        for found in stream:
            if at == index:
                self._reading = (group.start, at + 1, stream)
                return found
            at += 1
        raise FetchError("no longer in the file, which has changed")

    def _stream(self, group: _Group) -> Iterator[bytes | None]:
        with pq.ParquetFile(self._paths[group.file], buffer_size=2**20) as file:
            leaves = [self._column]
            for batch in file.iter_batches(_ROWS, row_groups=[group.number], columns=leaves):
                values = batch.column(0)
                if pa.types.is_struct(values.type):
                    values = values.field("bytes")
                for value in values:
                    yield value.as_py()

    def _names(self, tables: Sequence[Any]) -> tuple[str, ...]:
        """The path that the image column gives each, where these are unique; else row numbers."""
        field = self._schema.field(self._column)
        if pa.types.is_struct(field.type) and field.type.get_field_index("path") >= 0:
            paths = [
                path
                for table in tables
                for chunk in table.column(self._column).chunks
                for path in chunk.field("path").to_pylist()
            ]
            if None not in paths and "" not in paths and len(set(paths)) == len(paths):
                return tuple(paths)
        names: list[str] = []
        for at, path in enumerate(self._paths):
            rows = sum(group.stop - group.start for group in self._groups if group.file == at)
            names += [f"{path.name}/{row}" for row in range(rows)]
        return tuple(names)

    def _labelling(self, tables: Sequence[Any]) -> Labelling:
        known = class_names(self._schema)
        label = label_column(self._schema, known)
        texts = {
            field.name: _values(tables, field.name)
            for field in self._schema
            if is_text(field.type) and field.name not in (label, self._column)
        }
        if "prompt" not in texts:
            serving = next((name for name in _PROMPT_COLUMNS if name in texts), None)
            if serving is not None:
                texts["prompt"] = texts.pop(serving)
        columns = {name: tuple(value or None for value in texts[name]) for name in texts}
        if label is None:
            return Labelling(columns=columns)
        values = _values(tables, label)
        if lacking := values.count(None):
            raise ImageError(
                f"{self.name}: {lacking} of {len(values)} rows have no {label}; give labels by a "
                "table, or leave these rows out"
            )
        classes, labels = self._classes(label, values, known.get(label))
        return Labelling(classes, labels, columns)

    def _classes(
        self, label: str, values: Sequence[Any], names: Sequence[str] | None
    ) -> tuple[tuple[str, ...], Tensor]:
        if names is None:
            return numbered([str(value) for value in values])
        if wrong := [value for value in values if not 0 <= value < len(names)]:
            raise ImageError(
                f"{self.name}: column {label} holds {wrong[0]}; expected 0 to {len(names) - 1}, "
                "for which the metadata has names"
            )
        return numbered([names[value] for value in values], names)


@dataclass(frozen=True)
class _Group:
    """A row group: its file, its number there, and the range of indices that it holds."""

    file: int
    number: int
    start: int
    stop: int


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn whatever reading a file raises into an error that names the file."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # damaged files raise almost any type
        raise ImageError(
            f"{path} cannot be read as a Parquet file: {error}; it may be cut short: get it again"
        ) from error


def _values(tables: Sequence[Any], column: str) -> list[Any]:
    return [value for table in tables for value in table.column(column).to_pylist()]
