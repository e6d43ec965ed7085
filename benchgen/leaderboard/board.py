"""A leaderboard: models, each with its revisions, and the rows that bound them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from benchgen.errors import NotComparableError, StoreError, UsageError
from benchgen.leaderboard.documents import MOST_ALPHA, BoardDocument
from benchgen.leaderboard.entries import Entry, Files, read_entry, read_files
from benchgen.leaderboard.packing import pack, rows_to_add, signed
from benchgen.leaderboard.store import Kept, open_store
from benchgen.runs import fingerprint
from benchgen.runs.comparison import Comparison
from benchgen.runs.directory import Result, Run, parse_document
from benchgen.runs.documents import ResultDocument, now
from benchgen.version import __version__

_BOUNDS = ("real", "noise")


@dataclass(frozen=True)
class Added:
    """What became of one row of a run: ``revision`` counts from 1."""

    model: str
    revision: int
    outcome: Literal["added", "replaced", "already there"]


class Board:
    """A leaderboard, opened from its address: a folder, sqlite:///FILE or postgresql://….

    Attributes:
        address: Where it is, for messages: without a password.
        document: What it is called, and how it ranks.

    Raises:
        UsageError: There is no board, or the extra `database` is missing.
        StoreError: It cannot be read, or is of a newer benchgen.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self._store = open_store(address)
        self.address = self._store.address
        content = self._store.document()
        if content is None:
            raise UsageError(
                f"{self.address} is no leaderboard: there is no board in it. Begin one: benchgen "
                f"leaderboard init {self.address}"
            )
        self._content = content
        self.document: BoardDocument = parse_document(
            content, BoardDocument, f"{self.address}/board.json"
        )

    @classmethod
    def begin(
        cls,
        address: str | os.PathLike[str],
        title: str,
        weights: dict[str, float] | None = None,
        *,
        alpha: float = 0.05,
    ) -> Board:
        """An empty board at an address where there is none.

        Args:
            address: Of a place where nothing is yet.
            title: What it is called.
            weights: Of the rank on each metric@extractor; none: equal ones.
            alpha: Chance of any false order of models on a metric.

        Raises:
            UsageError: There is one already, or ``alpha`` is not between 0 and 0.5.
            StoreError: If it cannot be written.
        """
        if not 0 < alpha < MOST_ALPHA:
            raise UsageError(f"alpha is {alpha:g}; use a chance such as 0.05, below {MOST_ALPHA}")
        document = BoardDocument(
            benchgen_version=__version__,
            title=title,
            created=now(),
            alpha=alpha,
            weights=weights or {},
        )
        open_store(address).begin(f"{document.model_dump_json(indent=1)}\n".encode())
        return cls(address)

    def copy(self, address: str | os.PathLike[str]) -> Board:
        """The whole board, byte for byte, at an address where there is nothing yet.

        Raises:
            UsageError: There is something.
            StoreError: A revision is not whole, or cannot be written; then there is no copy.
        """
        target = open_store(address)
        if not target.is_empty():
            raise UsageError(
                f"{target.address} is not empty; a board is copied to where there is nothing yet"
            )
        target.begin(
            self._content, (one for name in self._store.models() for one in self._whole(name))
        )
        return Board(address)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The latest revision of every model, and of the bounds; raises as ``read_entry``."""
        return {
            model: read_entry(self._store, model, revisions[-1])
            for model, revisions in self._found()
        }

    def history(self, model: str) -> list[Entry]:
        """All revisions of a model, the first one first.

        Raises:
            UsageError: The board has no such model.
            StoreError: As ``read_entry``.
        """
        revisions = self._revisions(model)
        if not revisions:
            known = ", ".join(name for name, _ in self._found())
            raise UsageError(f"{self.address} has no model {model!r}; it has: {known}")
        return [read_entry(self._store, model, revision) for revision in revisions]

    @property
    def revisions(self) -> dict[str, int]:
        """How many revisions each model, and each bound, has; reads no entry."""
        return {model: len(revisions) for model, revisions in self._found()}

    @property
    def models(self) -> dict[str, Entry]:
        """The latest revisions of what competes."""
        return {name: one for name, one in self.entries.items() if name not in _BOUNDS}

    @cached_property
    def comparison(self) -> Comparison:
        """All of the latest revisions side by side."""
        runs = [entry.run for entry in self.entries.values()]
        return Comparison.of(runs, alpha=self.document.alpha)

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
        chosen = rows_to_add(opened, names)
        for result in chosen:
            self.require_comparable(result)
        added = [self._add(opened, result, by) for result in chosen]
        for name in _BOUNDS:
            if name in opened.results and not self._revisions(name):
                self._add(opened, opened[name], by)
        for cached in ("entries", "comparison", "_standard"):
            self.__dict__.pop(cached, None)
        return added

    def _add(self, run: Run, result: Result, by: str) -> Added:
        model, files = result.name, None
        while True:
            before = self._revisions(model)
            if before and self._read(model, before[-1]).say_the_same(result.document):
                return Added(model, len(before), "already there")
            files = files or pack(run, result)
            revision = len(before) + 1
            entry = signed(files, model=model, revision=revision, added=now(), by=by)
            if self._store.write(model, _named(revision), entry):
                return Added(model, revision, "replaced" if before else "added")

    def damaged(self) -> dict[str, StoreError]:
        """By model, why a revision of it is not whole."""
        found = {}
        for model in self._store.models():
            try:
                for _ in self._whole(model):
                    pass
            except StoreError as error:
                found[model] = error
        return found

    def require_comparable(self, result: Result) -> None:
        """The same metrics as the board's, made in the same way.

        Raises:
            NotComparableError: They are not; names the metrics or fields.
        """
        if self._standard is None:
            return
        standard = self._standard
        wanted = {(r.metric, r.extractor): r for r in standard.estimates}
        given = {(r.metric, r.extractor): r for r in result.document.estimates}
        if wanted.keys() != given.keys():
            lacking, more = (
                ", ".join(sorted(f"{m}@{e}" if e else m for m, e in keys))
                for keys in (wanted.keys() - given.keys(), given.keys() - wanted.keys())
            )
            told = [f"it lacks {lacking}"] * bool(lacking) + [f"it also has {more}"] * bool(more)
            raise NotComparableError(
                f"{result.name} does not have the metrics of {self.address}: {'; '.join(told)}. "
                "Run the board's suite"
            )
        for key, record in wanted.items():
            fingerprint.require_comparable(
                standard.fingerprints[record.fingerprint],
                result.document.fingerprints[given[key].fingerprint],
                f"{key[0]} on the board and of {result.name}",
            )

    @cached_property
    def _standard(self) -> ResultDocument | None:
        """One that all others have to be comparable with."""
        for model, revisions in self._found():
            return self._read(model, revisions[-1]).result
        return None

    def _found(self) -> Iterator[tuple[str, list[str]]]:
        """Models that have revisions, in the order of the alphabet, then the bounds."""
        found = self._store.models()
        bounds = [name for name in _BOUNDS if name in found]
        for name in [*sorted({*found} - {*_BOUNDS}), *bounds]:
            if revisions := self._revisions(name):
                yield name, revisions

    def _revisions(self, model: str) -> list[str]:
        """Names of a model's revisions, from the first up to where one is missing."""
        found = {*self._store.revisions(model)}
        revisions: list[str] = []
        while (name := _named(len(revisions) + 1)) in found:
            revisions.append(name)
        return revisions

    def _read(self, model: str, revision: str) -> Files:
        return read_files(self._store, model, revision)

    def _whole(self, model: str) -> Iterator[Kept]:
        """Every revision of a model; raises StoreError at one that is not whole."""
        revisions = self._revisions(model)
        if strange := {*self._store.revisions(model)} - {*revisions}:
            raise StoreError(
                f"{self.address}/models/{model}/{min(strange)} does not follow on revision "
                f"{len(revisions)}: one is missing"
            )
        for revision in revisions:
            yield model, revision, self._read(model, revision).contents


def _named(revision: int) -> str:
    return f"{revision:04d}"
