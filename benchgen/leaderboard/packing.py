"""From rows of a run to entries: each a run of that row alone, with its hashes."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchgen.audits.documents import AuditDocument
from benchgen.errors import UsageError
from benchgen.hashing import seal
from benchgen.leaderboard.documents import MODEL_NAME, EntryDocument
from benchgen.leaderboard.entries import AUDIT
from benchgen.runs.directory import Result, Run, read_document
from benchgen.runs.documents import Exhibit, Exhibits
from benchgen.version import __version__


def rows_to_add(run: Run, names: Sequence[str]) -> list[Result]:
    """The generators of these names, or all of them.

    Raises:
        UsageError: There is no such one, it failed, or its name cannot be on a board.
    """
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
        if not re.fullmatch(MODEL_NAME, result.name):
            raise UsageError(
                f"{result.name!r} cannot be on a board: a name has 1 to 80 letters, digits, spaces "
                "and _ . ( ) -, and begins with a letter or digit; call the row so in the suite"
            )
        if result.document.error is not None:
            raise UsageError(
                f"{result.name} failed in {run.directory}: {result.document.error}; mend it, and "
                "run again"
            )
    return chosen


def pack(run: Run, result: Result) -> dict[str, bytes]:
    """Documents, influences and pictures, by their path within the entry.

    Raises:
        StoreError: If the run's documents cannot be read.
    """
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
        files[AUDIT] = _json(audit)
    lean = document.model_copy(update={"exhibits": kept, "features": {}})
    own = run.document.model_copy(
        update={
            "rows": [result.name],
            "status": "complete",
            "messages": [],  # of the whole run, not of this row
            "reference_sample": [],  # those of `real` show the reference
        }
    )
    files[f"results/{result.name}.json"] = _json(lean)
    files["run.json"] = _json(own)
    return files


def signed(
    files: Mapping[str, bytes], *, model: str, revision: int, added: str, by: str
) -> dict[str, bytes]:
    """The files, and ``entry.json`` with their hashes."""
    unsigned = EntryDocument(
        benchgen_version=__version__,
        model=model,
        revision=revision,
        added=added,
        by=by,
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        sha256="",
    )
    document = unsigned.model_copy(update={"sha256": seal(unsigned.model_dump(mode="json"))})
    return {**files, "entry.json": _json(document)}


def _audit(run: Run, result: Result) -> AuditDocument | None:
    """What an audit in the run's directory says of these very images, without its pictures."""
    path = run.directory / "audit" / AUDIT
    if not path.is_file():
        return None
    document: AuditDocument = read_document(path, AuditDocument)
    if result.document.source not in document.generators:
        return None
    return document.model_copy(
        update={
            "run": run.directory.name,
            "generators": [result.document.source],
            "checks": [check for check in document.checks if check.generator == result.name],
            "attributes": [one for one in document.attributes if one.generator == result.name],
            "repeated": [],
            "copies": [],
        }
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
