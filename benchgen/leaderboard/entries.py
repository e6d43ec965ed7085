"""One revision of a model as a folder: a run of that row alone, with its hashes beside it."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from benchgen.audits.documents import AuditDocument
from benchgen.errors import StoreError
from benchgen.files import write_atomically
from benchgen.hashing import digest
from benchgen.leaderboard.documents import EntryDocument
from benchgen.runs.directory import Result, Run, read_document
from benchgen.runs.documents import Exhibit, Exhibits
from benchgen.version import __version__

_AUDIT = "audit.json"
_LARGEST = 20_000_000
"""Bytes of one file: a result takes far less."""


@dataclass(frozen=True)
class Entry:
    """A revision of a model, found whole."""

    directory: Path
    document: EntryDocument

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
        path = self.directory / _AUDIT
        if not path.is_file():
            return None
        document: AuditDocument = read_document(path, AuditDocument)
        return document

    def says_the_same(self, result: Result) -> bool:
        """Whether a result of a run is this very one."""
        one, other = self.result.document, result.document
        return one.source == other.source and one.estimates == other.estimates


def read_entry(directory: Path) -> Entry:
    """Open an entry, and refuse one that is not whole.

    Raises:
        StoreError: A file is missing, was changed, was put in, leads outside, is too large, or is
            of a newer schema; names it.
    """
    path = directory / "entry.json"
    there = [file for file in sorted(directory.rglob("*")) if not file.is_dir()]
    for file in there:
        if file.is_symlink():
            raise StoreError(f"{file} is a link; an entry consists of files")
        if file.stat().st_size > _LARGEST:
            size = f"{file.stat().st_size:,} bytes; {_LARGEST:,} are allowed"
            raise StoreError(f"{file} has {size}")
    document: EntryDocument = read_document(path, EntryDocument)
    if _digest(document) != document.sha256:
        raise StoreError(f"{path} was changed after it was added: its sha256 is another")
    for name, sha256 in document.files.items():
        file = directory / _within(path, name)
        if not file.is_file():
            raise StoreError(f"{file} is missing; it belongs to {path}")
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise StoreError(f"{file} was changed after it was added: its sha256 is another")
    names = {file.relative_to(directory).as_posix() for file in there}
    if strange := sorted(names - document.files.keys() - {"entry.json"}):
        raise StoreError(f"{directory / strange[0]} does not belong to the entry; remove it")
    entry = Entry(directory, document)
    rows = list(entry.run.results)
    if rows != [entry.model] or entry.result.document.source.name != entry.model:
        raise StoreError(f"{path} is of {entry.model}, and its run of {', '.join(rows) or 'none'}")
    return entry


def write_entry(
    folder: Path, run: Run, result: Result, *, revision: int, added: str, by: str
) -> bool:
    """Put one row of a run into ``folder``, which is there only when it is whole.

    Returns:
        Whether it was written: not, if the folder is there already.

    Raises:
        StoreError: If it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adding-") as made:
        inside = Path(made) / "entry"
        contents = _contents(run, result)
        for name, content in contents.items():
            write_atomically(inside / name, content)
        unsigned = EntryDocument(
            benchgen_version=__version__,
            model=result.name,
            revision=revision,
            added=added,
            by=by,
            files={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
            sha256="",
        )
        document = unsigned.model_copy(update={"sha256": _digest(unsigned)})
        write_atomically(inside / "entry.json", document.model_dump_json(indent=1) + "\n")
        try:
            inside.rename(folder)
        except OSError:
            if folder.exists():
                return False
            raise
    return True


def _contents(run: Run, result: Result) -> dict[str, bytes]:
    """The files of an entry by name: documents, influences and pictures."""
    files: dict[str, bytes] = {}
    document = result.document
    shown = document.exhibits
    kept = Exhibits(
        sample=_pictures(run, shown.sample, files),
        offender_metric=shown.offender_metric,
        raising=_pictures(run, shown.raising, files),
        lowering=_pictures(run, shown.lowering, files),
    )
    if document.columns is not None:
        table = result.columns
        clusters = [document.clusters] if document.clusters is not None else []
        files[document.columns] = _parquet(table, clusters)
        reference = result.reference_columns
        if len(reference):
            files[document.columns.replace(".parquet", ".reference.parquet")] = _parquet(
                reference, []
            )
    if (audit := _audit(run, result)) is not None:
        files[_AUDIT] = _json(audit)
    lean = document.model_copy(update={"exhibits": kept, "features": {}})
    own = run.document.model_copy(
        update={
            "rows": [result.name],
            "status": "complete",
            "messages": [],  # of the whole run, not of this row
            "reference_sample": _pictures(run, run.document.reference_sample, files),
        }
    )
    files[f"results/{result.name}.json"] = _json(lean)
    files["run.json"] = _json(own)
    return files


def _audit(run: Run, result: Result) -> AuditDocument | None:
    """What an audit in the run's directory says of these very images, without its pictures."""
    path = run.directory / "audit" / _AUDIT
    if not path.is_file():
        return None
    document: AuditDocument = read_document(path, AuditDocument)
    if result.document.source not in document.generators:
        return None
    own = [check for check in document.checks if check.generator == result.name]
    seen = [shares for shares in document.attributes if shares.generator == result.name]
    kept = {"checks": own, "attributes": seen, "generators": [result.document.source]}
    return document.model_copy(
        update={**kept, "run": run.directory.name, "repeated": [], "copies": []}
    )


def _pictures(run: Run, exhibits: list[Exhibit], files: dict[str, bytes]) -> list[Exhibit]:
    """The exhibits whose pictures are there; these go among the files."""
    kept = []
    for exhibit in exhibits:
        path = run.directory / exhibit.file
        if path.is_file():
            files[exhibit.file] = path.read_bytes()
            kept.append(exhibit)
    return kept


def _parquet(table: Any, more: Sequence[str]) -> bytes:
    """The index, the influences in float32, and some further columns."""
    influences = [name for name in table.columns if str(name).startswith("influence.")]
    lean = table[["index", *more, *influences]].astype(dict.fromkeys(influences, "float32"))
    buffer = io.BytesIO()
    lean.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _json(document: Any) -> bytes:
    text: str = document.model_dump_json(indent=1)
    return f"{text}\n".encode()


def _within(path: Path, name: str) -> PurePosixPath:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise StoreError(f"{path} names the file {name!r}, which is not within the entry")
    return inside


def _digest(document: EntryDocument) -> str:
    return digest(document.model_dump(mode="json", exclude={"sha256"}))
