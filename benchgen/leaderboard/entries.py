"""One revision of a model as its reader has it: a run of that row alone, found whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from benchgen.audits.documents import AuditDocument
from benchgen.errors import StoreError
from benchgen.hashing import seal
from benchgen.leaderboard.documents import EntryDocument
from benchgen.leaderboard.store import Store
from benchgen.runs.directory import Result, Run, parse_document, read_document
from benchgen.runs.documents import ResultDocument, RunDocument

AUDIT = "audit.json"
_LARGEST = 20_000_000
"""Bytes of one file: a result takes far less."""

_LARGEST_ENTRY = 200_000_000
"""Bytes of all files of an entry: they are checked in memory."""


@dataclass(frozen=True)
class Entry:
    """A revision of a model, found whole.

    Attributes:
        directory: Its files; those from a database lie there as long as the entry or the board.
        document: What they have to be.
    """

    directory: Path
    document: EntryDocument
    store: Store

    @property
    def model(self) -> str:
        return self.document.model

    @cached_property
    def run(self) -> Run:
        """A run that has this row alone."""
        return Run(self.directory)

    @property
    def result(self) -> Result:
        return self.run[self.model]

    @cached_property
    def audit(self) -> AuditDocument | None:
        """What an audit of the run said of this row, if there was one."""
        path = self.directory / AUDIT
        if not path.is_file():
            return None
        document: AuditDocument = read_document(path, AuditDocument)
        return document


@dataclass(frozen=True)
class Files:
    """What a store has of a revision, found whole: all files, and two documents out of them."""

    document: EntryDocument
    result: ResultDocument
    contents: dict[str, bytes]

    def say_the_same(self, result: ResultDocument) -> bool:
        """Whether a result of a run is this very one."""
        return self.result.source == result.source and self.result.estimates == result.estimates


def read_entry(store: Store, model: str, revision: str) -> Entry:
    """Open an entry, and refuse one that is not whole.

    Raises:
        StoreError: As ``read_files``.
    """
    files = read_files(store, model, revision)
    document = files.document
    place = store.directory(model, revision, document.sha256, files.contents)
    return Entry(place, document, store)


def read_files(store: Store, model: str, revision: str) -> Files:
    """The files of an entry, found whole.

    Raises:
        StoreError: A file is missing, was changed, was put in, leads outside, is too large, is of
            a newer schema, or is of another entry; names it.
    """
    place = f"{store.address}/models/{model}/{revision}"
    _require_small(place, store.sizes(model, revision))
    files = store.files(model, revision)
    path = f"{place}/entry.json"
    if "entry.json" not in files:
        raise StoreError(f"{path} is missing; without it {place} is no entry")
    document: EntryDocument = parse_document(files["entry.json"], EntryDocument, path)
    if seal(json.loads(files["entry.json"])) != document.sha256:
        raise StoreError(f"{path} was changed after it was added: its sha256 is another")
    if (document.model, f"{document.revision:04d}") != (model, revision):
        raise StoreError(
            f"{place} says that it is revision {document.revision} of {document.model}"
        )
    _require_whole(place, document, files)
    return Files(document, _own_result(place, model, files), files)


def _require_small(place: str, sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if size > _LARGEST:
            raise StoreError(f"{place}/{name} has {size:,} bytes; {_LARGEST:,} are allowed")
    if (total := sum(sizes.values())) > _LARGEST_ENTRY:
        raise StoreError(f"{place} has {total:,} bytes; {_LARGEST_ENTRY:,} are allowed")


def _require_whole(place: str, document: EntryDocument, files: Mapping[str, bytes]) -> None:
    for name, sha256 in document.files.items():
        _require_within(f"{place}/entry.json", name)
        if name not in files:
            raise StoreError(f"{place}/{name} is missing; it belongs to {place}/entry.json")
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise StoreError(
                f"{place}/{name} was changed after it was added: its sha256 is another"
            )
    if strange := sorted(files.keys() - document.files.keys() - {"entry.json"}):
        raise StoreError(f"{place}/{strange[0]} does not belong to the entry; remove it")


def _own_result(place: str, model: str, files: Mapping[str, bytes]) -> ResultDocument:
    """The result of the run in it, whose only row is the model."""
    own = f"results/{model}.json"
    for name in ("run.json", own):
        if name not in files:
            raise StoreError(f"{place}/{name} is missing; without it {place} is no entry")
    run: RunDocument = parse_document(files["run.json"], RunDocument, f"{place}/run.json")
    result: ResultDocument = parse_document(files[own], ResultDocument, f"{place}/{own}")
    if run.rows != [model] or result.source.name != model:
        raise StoreError(
            f"{place} is of {model}, but its run of {', '.join(run.rows) or 'none'}, and its "
            f"result of {result.source.name}"
        )
    shown = result.exhibits
    pictures = [*shown.sample, *shown.raising, *shown.lowering, *run.reference_sample]
    for path in filter(None, (result.columns, *(one.file for one in pictures))):
        if path not in files:
            raise StoreError(f"the run in {place} names {path!r}, which is not within the entry")
    return result


def _require_within(path: str, name: str) -> None:
    inside = PurePosixPath(name)
    if (
        inside.is_absolute()
        or ".." in inside.parts
        or not inside.parts
        or inside.as_posix() != name
        or "\\" in name
        or not name.isprintable()
    ):
        raise StoreError(f"{path} names the file {name!r}, which is not within the entry")
