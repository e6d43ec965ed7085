"""A leaderboard as a folder: models, each with its revisions, and the rows that bound them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from benchgen.errors import NotComparableError, StoreError, UsageError
from benchgen.files import write_atomically
from benchgen.leaderboard.documents import BoardDocument
from benchgen.leaderboard.entries import Entry, read_entry, write_entry
from benchgen.runs import fingerprint
from benchgen.runs.comparison import Comparison
from benchgen.runs.directory import Result, Run, read_document
from benchgen.runs.records import now
from benchgen.version import __version__

_BOUNDS = ("real", "noise")


@dataclass(frozen=True)
class Added:
    """What became of one row of a run: ``revision`` counts from 1."""

    model: str
    revision: int
    outcome: Literal["added", "replaced", "already there"]


class Board:
    """A leaderboard, opened from its folder.

    Raises:
        UsageError: There is no board.
        StoreError: Its document cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / "board.json"
        if not path.is_file():
            raise UsageError(
                f"{self.folder} is no leaderboard: it has no board.json. Begin one: benchgen "
                f"leaderboard init {self.folder}"
            )
        self.document: BoardDocument = read_document(path, BoardDocument)

    @classmethod
    def begin(
        cls, folder: str | os.PathLike[str], title: str, weights: dict[str, float] | None = None
    ) -> Board:
        """An empty board in a new folder.

        Raises:
            UsageError: There is one already.
            StoreError: If it cannot be written.
        """
        path = Path(folder) / "board.json"
        if path.exists():
            raise UsageError(f"{path} is there already; add to it, or choose another folder")
        document = BoardDocument(
            benchgen_version=__version__, title=title, created=now(), weights=weights or {}
        )
        write_atomically(path, document.model_dump_json(indent=1) + "\n")
        return cls(folder)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The latest revision of every model, and of the bounds; raises as ``read_entry``."""
        return {name: self.history(name)[-1] for name in self._names()}

    def history(self, model: str) -> list[Entry]:
        """All revisions of a model, the first one first.

        Raises:
            UsageError: The board has no such model.
            StoreError: As ``read_entry``.
        """
        found = [read_entry(place) for place in self._places(model)]
        if not found:
            raise UsageError(
                f"{self.folder} has no model {model!r}; it has: {', '.join(self._names())}"
            )
        return found

    @property
    def models(self) -> dict[str, Entry]:
        """The latest revisions of what competes."""
        return {name: one for name, one in self.entries.items() if name not in _BOUNDS}

    @cached_property
    def comparison(self) -> Comparison:
        """All of the latest revisions side by side."""
        return Comparison.of([entry.run for entry in self.entries.values()])

    def add(
        self, run: Run | str | os.PathLike[str], *, by: str, names: Sequence[str] = ()
    ) -> list[Added]:
        """Put rows of a run on the board; the bounds `real` and `noise` come with the first.

        A model that is there gets another revision, unless it says the very same. Nothing is
        added if any row does not fit.

        Args:
            run: A run, or its directory.
            by: Who adds it; kept with the entry.
            names: Names of the rows; none: all generators.

        Raises:
            UsageError: The run has no such row, or it failed.
            NotComparableError: Scores were made in another way than those on the board; names the
                field.
            StoreError: If the run cannot be read, or the board not be written.
        """
        opened = run if isinstance(run, Run) else Run(run)
        chosen = _chosen(opened, names)
        bounds = [row for row in _BOUNDS if row in opened.results]
        for result in chosen:
            self.require_comparable(result)
        added = [self._add(opened, result, by) for result in chosen]
        for name in bounds:
            if not self._places(name):
                self._add(opened, opened[name], by)
        for cached in ("entries", "comparison"):
            self.__dict__.pop(cached, None)
        return added

    def _add(self, run: Run, result: Result, by: str) -> Added:
        while True:
            places = self._places(result.name)
            if places and read_entry(places[-1]).says_the_same(result):
                return Added(result.name, len(places), "already there")
            revision = len(places) + 1
            folder = self.folder / "models" / result.name / f"{revision:04d}"
            if write_entry(folder, run, result, revision=revision, added=now(), by=by):
                return Added(result.name, revision, "replaced" if places else "added")

    def damaged(self) -> dict[str, StoreError]:
        """By model, why a revision of it is not whole."""
        found = {}
        for folder in self._folders(self.folder / "models"):
            places = self._places(folder.name)
            if strange := {*self._folders(folder)} - {*places}:
                found[folder.name] = StoreError(
                    f"{min(strange)} does not follow on revision {len(places)}: one is missing"
                )
            for revision, place in enumerate(places, 1):
                try:
                    stated = read_entry(place).document.revision
                    if stated != revision:
                        raise StoreError(f"{place} says that it is revision {stated}")
                except StoreError as error:
                    found[folder.name] = error
        return found

    def require_comparable(self, result: Result) -> None:
        """The same metrics as the board's, made in the same way.

        Raises:
            NotComparableError: They are not; names the metrics or fields.
        """
        names = self._names()
        if not names:
            return
        standard = self.entries[names[0]].result.document
        wanted = {(r.metric, r.extractor): r for r in standard.estimates}
        given = {(r.metric, r.extractor): r for r in result.document.estimates}
        if wanted.keys() != given.keys():
            lacking, more = (
                ", ".join(sorted(f"{m}@{e}" if e else m for m, e in keys))
                for keys in (wanted.keys() - given.keys(), given.keys() - wanted.keys())
            )
            told = [f"it lacks {lacking}"] * bool(lacking) + [f"it also has {more}"] * bool(more)
            raise NotComparableError(
                f"{result.name} does not have the metrics of {self.folder}: {'; '.join(told)}. Run "
                "the board's suite"
            )
        for key, record in wanted.items():
            fingerprint.require_comparable(
                standard.fingerprints[record.fingerprint],
                result.document.fingerprints[given[key].fingerprint],
                f"{key[0]} on the board and of {result.name}",
            )

    def _names(self) -> list[str]:
        """Models in the order of the alphabet, then the bounds; not those still being written."""
        folders = self._folders(self.folder / "models")
        found = {place.name for place in folders if self._places(place.name)}
        return [*sorted(found - set(_BOUNDS)), *(name for name in _BOUNDS if name in found)]

    def _places(self, model: str) -> list[Path]:
        found = {place.name: place for place in self._folders(self.folder / "models" / model)}
        places: list[Path] = []
        while (name := f"{len(places) + 1:04d}") in found:
            places.append(found[name])
        return places

    @staticmethod
    def _folders(folder: Path) -> Iterator[Path]:
        for place in folder.iterdir() if folder.is_dir() else ():
            if place.is_dir() and not place.name.startswith("."):
                yield place


def _chosen(run: Run, names: Sequence[str]) -> list[Result]:
    rows = [result for result in run.results.values() if result.document.row == "generator"]
    known = [result.name for result in rows]
    if missing := [name for name in names if name not in known]:
        raise UsageError(
            f"{run.directory} has no generator {', '.join(missing)}; it has: "
            f"{', '.join(known) or 'none'}"
        )
    chosen = [result for result in rows if not names or result.name in names]
    if not chosen:
        raise UsageError(f"{run.directory} has no generator to add")
    for result in chosen:
        if result.document.error is not None:
            raise UsageError(
                f"{result.name} failed in {run.directory}: {result.document.error}; mend it, and "
                "run again"
            )
    return chosen
