"""What is said of each image, from a run's columns and a user's tables, as positions of kinds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchgen.errors import ImageError, UsageError
from benchgen.images.table import Table, read_table
from benchgen.stats.calibrated import Confusion
from benchgen.stats.shares import UNKNOWN

_UNREAD = ("", "unknown")
_MOST_KINDS = 100
_SHOWN = 3
_ROUNDING = 0.01
JOINT = " & "
"""Joins the names of attributes whose combinations are asked for, and those of their kinds."""


@dataclass(frozen=True)
class Labels:
    """An attribute of a row's images.

    Attributes:
        kinds: Its values.
        values: Of each image the position of its kind, or ``UNKNOWN``; int64 ``[n]``.
        labeler: Where the readings come from.
    """

    kinds: tuple[str, ...]
    values: np.ndarray
    labeler: str

    @property
    def known(self) -> np.ndarray:
        """Which images were read, bool ``[n]``."""
        found: np.ndarray = self.values != UNKNOWN
        return found


@dataclass(frozen=True)
class Columns:
    """What is known of the images of one row.

    Attributes:
        row: Its name.
        frame: The run's columns, one line an image.
        given: The user's columns, by name; text or None each, as many as images.
        path: Where these come from.
    """

    row: str
    frame: pd.DataFrame
    given: Mapping[str, Sequence[str | None]]
    path: str = ""

    def texts(self, attribute: str) -> tuple[list[str | None], str]:
        """The readings of an attribute, and where they come from.

        Raises:
            UsageError: There is no such column, or it is one of numbers.
            ImageError: Probabilities are none.
        """
        if JOINT in attribute:
            parts = [self.texts(name) for name in attribute.split(JOINT)]
            joined = [
                None if None in values else JOINT.join(v for v in values if v is not None)
                for values in zip(*(texts for texts, _ in parts), strict=True)
            ]
            return joined, "; ".join(dict.fromkeys(where for _, where in parts))
        if attribute in self.given:
            return _read(self.given[attribute]), self.path
        chances = {
            name.removeprefix(f"{attribute}="): values
            for name, values in self.given.items()
            if name.startswith(f"{attribute}=")
        }
        if chances:
            return self._likeliest(attribute, chances), f"{self.path}, the likeliest kind"
        if attribute in self.frame.columns:
            column = self.frame[attribute]
            if pd.api.types.is_float_dtype(column):
                raise UsageError(
                    f"{attribute} of {self.row} is a column of numbers; an attribute has kinds. "
                    "Limit its mean under [audit.columns] instead"
                )
            return _read([None if pd.isna(value) else str(value) for value in column]), "the run"
        known = [str(name) for name in self.frame.columns if "influence." not in str(name)]
        raise UsageError(
            f"{self.row} has no attribute {attribute!r}; it has: "
            f"{', '.join([*known, *self.given]) or 'none'}. Name one of these, add a measure to "
            "the suite, or give a table of labels"
        )

    def has(self, attribute: str) -> bool:
        """Whether anything is known of an attribute, or of all parts of a combination."""
        columns = [*self.given, *map(str, self.frame.columns)]
        return all(
            any(column == part or column.startswith(f"{part}=") for column in columns)
            for part in attribute.split(JOINT)
        )

    def _likeliest(
        self, attribute: str, chances: Mapping[str, Sequence[str | None]]
    ) -> list[str | None]:
        found: list[str | None] = []
        kinds = list(chances)
        for file, cells in zip(
            self.frame["name"], zip(*chances.values(), strict=True), strict=True
        ):
            if all(cell is None for cell in cells):
                found.append(None)
                continue
            numbers = [_probability(cell) for cell in cells]
            total = sum(numbers)
            if not abs(total - 1) <= _ROUNDING:
                told = ", ".join(f"{k} {c}" for k, c in zip(kinds, cells, strict=True))
                raise ImageError(
                    f"{self.path}: the probabilities of {attribute} of {file} ({told}) sum to "
                    f"{total:g}; expected numbers from 0 to 1 that sum to 1"
                )
            found.append(kinds[numbers.index(max(numbers))])
        return found


def columns_of(row: str, frame: pd.DataFrame, table: Table | None, alone: bool) -> Columns:
    """A row's columns with those of a table of labels.

    Args:
        row: Its name.
        frame: The run's columns.
        table: Rows by file name; where a run has several generators, ``generator`` says whose.
        alone: Whether the run has no other generator.

    Raises:
        ImageError: The table names files that the row does not have, or says nothing of it.
    """
    if table is None:
        return Columns(row, frame, {})
    rows = table.rows
    if "generator" in table.columns:
        rows = {name: cells for name, cells in rows.items() if cells["generator"] == row}
    elif not alone:
        raise ImageError(
            f"{table.path}: the run has several generators, and the table does not say whose "
            "images it names; add a column 'generator', or audit one at a time"
        )
    names = frame["name"].astype(str).tolist()
    if strange := sorted(rows.keys() - set(names)):
        shown = ", ".join(strange[:_SHOWN]) + (", ..." if len(strange) > _SHOWN else "")
        raise ImageError(
            f"{table.path}: {len(strange)} files are not among the images of {row}: {shown}; "
            f"its images are called {', '.join(names[:_SHOWN])}, ..."
        )
    given = {
        column: [rows[name][column] if name in rows else None for name in names]
        for column in table.columns
        if column != "generator"
    }
    return Columns(row, frame, given, str(table.path))


def labels_of(columns: Columns, attribute: str, kinds: Sequence[str]) -> Labels:
    """An attribute's readings as positions in ``kinds``.

    Raises:
        UsageError: As ``Columns.texts``; or a value is none of the kinds.
    """
    texts, labeler = columns.texts(attribute)
    places = {kind: place for place, kind in enumerate(kinds)}
    if strange := sorted({text for text in texts if text is not None} - places.keys()):
        raise UsageError(
            f"{attribute} of {columns.row} is {strange[0]!r} in an image; its kinds are "
            f"{', '.join(kinds)}. Add it to the attribute's kinds (or target)"
        )
    values = [UNKNOWN if text is None else places[text] for text in texts]
    return Labels(tuple(kinds), np.array(values, dtype=np.int64), labeler)


def kinds_of(all_columns: Iterable[Columns], attribute: str) -> tuple[str, ...]:
    """All values of an attribute in these rows.

    Raises:
        UsageError: As ``Columns.texts``; or it has no value, one alone, or very many.
    """
    found = {text for columns in all_columns for text in columns.texts(attribute)[0] if text}
    if not 2 <= len(found) <= _MOST_KINDS:
        raise UsageError(
            f"{attribute} has {len(found)} different values; expected 2 to {_MOST_KINDS} kinds. "
            "Declare its kinds in the suite if images of the others are missing"
        )
    return tuple(sorted(found))


def truth_of(path: str, attribute: str, columns: Columns) -> Columns:
    """What people saw in some of a row's images, as columns.

    Raises:
        ImageError: The table cannot be read, or lacks the attribute.
    """
    table = read_table(path)
    if attribute not in table.columns:
        raise ImageError(
            f"{path} has no column {attribute!r}; it has: {', '.join(table.columns) or 'none'}"
        )
    names = columns.frame["name"].astype(str)
    given = [table.rows.get(name, {}).get(attribute) for name in names]
    return Columns(columns.row, columns.frame, {attribute: given}, path)


def read_confusion(path: str | Path, kinds: Sequence[str]) -> Confusion:
    """Counts of a CSV with the columns ``true`` and ``read``: one line an image.

    Raises:
        ImageError: It cannot be read, lacks a column, or names a kind that is none.
        MetricError: A kind never occurs as the true one.
    """
    path = Path(path).expanduser()
    places = {kind: place for place, kind in enumerate(kinds)} | dict.fromkeys(_UNREAD, UNKNOWN)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := {"true", "read"} - set(reader.fieldnames or ()):
                raise ImageError(
                    f"{path} has no column {', '.join(sorted(missing))}; a calibration has the "
                    "columns true and read, one line an image"
                )
            pairs = []
            for line in reader:
                both = (line["true"] or "").strip(), (line["read"] or "").strip()
                for cell in both:
                    if cell not in places:
                        raise ImageError(
                            f"{path}, line {reader.line_num}: {cell!r} is none of the kinds "
                            f"{', '.join(kinds)}"
                        )
                pairs.append(both)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path} is not a CSV in UTF-8: {error}") from None
    if not pairs:
        raise ImageError(f"{path} holds no line; give one for each calibrating image")
    true, read = ([places[cell] for cell in column] for column in zip(*pairs, strict=True))
    return Confusion.of(np.array(true), np.array(read), tuple(kinds))


def confusion_on(real: Columns | None, attribute: str, kinds: Sequence[str]) -> Confusion:
    """What the run's labeler reads in real images whose kind their source knows.

    Raises:
        UsageError: The real images lack either column.
        MetricError: A kind never occurs.
    """
    known = [] if real is None else [str(name) for name in real.frame.columns]
    readings = [name for name in known if name.startswith(f"{attribute}@")]
    if real is None or attribute not in known or len(readings) != 1:
        raise UsageError(
            f"calibration = 'reference' needs real images whose source knows {attribute}, and one "
            f"measure that reads it; the columns of these are: {', '.join(known) or 'none'}"
        )
    true, read = (labels_of(real, name, kinds) for name in (attribute, readings[0]))
    return Confusion.of(true.values[true.known], read.values[true.known], tuple(kinds))


def _read(values: Iterable[str | None]) -> list[str | None]:
    return [None if value is None or value.strip() in _UNREAD else value for value in values]


def _probability(cell: str | None) -> float:
    """A number from 0 to 1, else NaN, which sums to nothing."""
    try:
        number = float(cell or "nan")
    except ValueError:
        return math.nan
    return number if 0 <= number <= 1 else math.nan
