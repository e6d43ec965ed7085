"""Baselines as files: one JSON document a generator, with per-image columns beside it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchgen.errors import NotComparableError, StoreError
from benchgen.files import write_atomically
from benchgen.gate.documents import (
    BaselineDocument,
    ClassesRecord,
    LookRecord,
    ReplacedRecord,
)
from benchgen.gate.snapshot import (
    Classes,
    Key,
    Snapshot,
    against_this_reference,
    in_steps,
    influence_of,
)
from benchgen.hashing import digest, seal
from benchgen.report.numbers import with_error
from benchgen.runs.directory import estimate_of, read_document
from benchgen.runs.documents import EstimateRecord, SourceRecord
from benchgen.stats.estimates import Influence, cluster_indices

DEFAULT = Path(".benchgen/baselines")
_PICTURE_BYTES = 64_000
_CLUSTERS = "cluster"


@dataclass(frozen=True)
class Acceptance:
    """Everything that becomes a baseline.

    Attributes:
        snapshots: The generator at every look, by increasing n.
        records: The estimates of each look, as documents hold them.
        clusters: The cluster of each image at the last look, or None.
        pictures: PNG files of the first images.
    """

    suite: str
    reference: SourceRecord
    snapshots: Sequence[Snapshot]
    records: Sequence[Sequence[EstimateRecord]]
    clusters: Sequence[str] | None
    moments: Mapping[str, str]
    pictures: Sequence[bytes]


@dataclass(frozen=True)
class Baseline:
    """An accepted generator, read from its files and found whole."""

    path: Path
    document: BaselineDocument

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of images at each look."""
        return tuple(look.n for look in self.document.looks)

    @property
    def final(self) -> LookRecord:
        return self.document.looks[-1]

    def value(self, key: Key) -> float | None:
        """The accepted value of a metric, at the budget; None where undefined, or not there."""
        values = {(r.metric, r.extractor): r.value for r in self.final.estimates}
        return values.get(key)

    @cached_property
    def _columns(self) -> dict[str, Any]:
        from pyarrow import parquet

        table = parquet.read_table(_beside(self.path))
        return {name: table.column(name) for name in table.column_names}

    @cached_property
    def pictures(self) -> list[bytes]:
        """PNG files of the first images."""
        found: list[bytes] = self._columns["picture"].to_pylist()
        return found[: self.document.pictures]

    def snapshot(self, place: int) -> Snapshot:
        """The generator as it was at a look."""
        document, look = self.document, self.document.looks[place]
        used = look.n - look.excluded
        clusters = None
        if document.clusters is not None:
            values = self._columns[_CLUSTERS].to_pylist()[:used]
            clusters = cluster_indices(values, used, _CLUSTERS)
        estimates, fingerprints = {}, {}
        for record in look.estimates:
            key = record.metric, record.extractor
            own = clusters if record.method.endswith("clustered") else None
            bare = estimate_of(record, Influence(None, None), own)
            estimates[key] = against_this_reference(bare, self._influence(look, key), key)
            fingerprints[key] = look.fingerprints[record.fingerprint]
        seen = {
            name: Classes(
                names=tuple(known.names),
                reader=known.reader,
                values=np.asarray(self._columns[f"class@{name}"].to_pylist()[:used]),
            )
            for name, known in document.classes.items()
        }
        return Snapshot(
            source=document.source,
            n=look.n,
            excluded=look.excluded,
            estimates=estimates,
            fingerprints=fingerprints,
            seen=seen,
            clusters=document.clusters,
        )

    def _influence(self, look: LookRecord, key: Key) -> torch.Tensor | None:
        column = self._columns.get(_column(key, look.n))
        if column is None:
            return None
        steps = column.drop_null().to_numpy()
        return torch.from_numpy(steps.astype(np.float64) * look.steps[named(key)])


def named(key: Key) -> str:
    """``metric@extractor``, or the metric alone where it reads none."""
    return key[0] if key[1] is None else f"{key[0]}@{key[1]}"


def place(folder: Path, suite: str, generator: str) -> Path:
    """Where the baseline of a generator lies."""
    return folder / suite / f"{generator}.json"


def read(path: Path) -> Baseline:
    """Read a baseline, and refuse one that is not whole.

    Raises:
        NotComparableError: If there is none, or its columns are missing (exit code 4).
        StoreError: If a file is truncated, of a newer schema, or was edited by hand.
    """
    if not path.is_file():
        raise NotComparableError(
            f"there is no baseline {path}; accept one: benchgen baseline accept RUN --reason …"
        )
    document: BaselineDocument = read_document(path, BaselineDocument)
    if seal(json.loads(path.read_text(encoding="utf-8"))) != document.sha256:
        raise StoreError(
            f"{path} was changed after it was accepted: its sha256 is another. Restore it, or "
            "accept anew: benchgen baseline accept RUN --reason …"
        )
    beside = _beside(path)
    if not beside.is_file():
        raise NotComparableError(
            f"{beside} is missing; it belongs to {path.name}. Restore both files, or accept anew: "
            "benchgen baseline accept RUN --reason …"
        )
    if hashlib.sha256(beside.read_bytes()).hexdigest() != document.images_sha256:
        raise StoreError(
            f"{beside} is not the file that was accepted with {path.name}: its sha256 is another. "
            "Restore both, or accept anew: benchgen baseline accept RUN --reason …"
        )
    return Baseline(path, document)


def read_all(folder: Path, suite: str) -> dict[str, Baseline]:
    """All baselines of a suite, by generator; raises as ``read``."""
    found = sorted((folder / suite).glob("*.json"))
    return {path.stem: read(path) for path in found}


def write(
    path: Path, accepted: Acceptance, *, author: str, reason: str, at: str, version: str
) -> Baseline:
    """Write a baseline in the place of the one that is there.

    Raises:
        StoreError: If it cannot be written.
    """
    last = accepted.snapshots[-1]
    columns, looks = _columns(accepted)
    images = _parquet(columns)
    pictures = len(_kept(accepted.pictures))
    unsigned = BaselineDocument(
        benchgen_version=version,
        accepted=at,
        author=author,
        reason=reason,
        suite=accepted.suite,
        source=last.source,
        reference=accepted.reference,
        clusters=last.clusters,  # type: ignore[arg-type]
        looks=looks,
        classes={
            name: ClassesRecord(names=list(seen.names), reader=dict(seen.reader))
            for name, seen in last.seen.items()
        },
        moments=dict(accepted.moments),
        pictures=pictures,
        images_sha256=hashlib.sha256(images).hexdigest(),
        replaced=_replaced(path),
        sha256="",
    )
    document = unsigned.model_copy(update={"sha256": seal(unsigned.model_dump(mode="json"))})
    # The columns first: a document is there only with what it vouches for, or is refused.
    write_atomically(_beside(path), images)
    write_atomically(path, document.model_dump_json(indent=1) + "\n")
    return Baseline(path, document)


def _columns(accepted: Acceptance) -> tuple[dict[str, Any], list[LookRecord]]:
    """Per-image columns by name, and the looks that they belong to."""
    last = accepted.snapshots[-1]
    columns: dict[str, Any] = {f"class@{name}": seen.values for name, seen in last.seen.items()}
    if accepted.clusters is not None:
        columns[_CLUSTERS] = list(accepted.clusters)
    looks = []
    for snapshot, records in zip(accepted.snapshots, accepted.records, strict=True):
        worth = {}
        for key, found in snapshot.estimates.items():
            values = influence_of(found, key)
            if values is not None:
                columns[_column(key, snapshot.n)], worth[named(key)] = in_steps(values)
        prints = {digest(fields): dict(fields) for fields in snapshot.fingerprints.values()}
        lean = [record.model_copy(update={"law": _lean(record)}) for record in records]
        looks.append(
            LookRecord(
                n=snapshot.n,
                excluded=snapshot.excluded,
                estimates=lean,
                fingerprints=prints,
                steps=worth,
            )
        )
    columns["picture"] = _kept(accepted.pictures)
    return columns, looks


def _lean(record: EstimateRecord) -> Any:
    return record.law and record.law.model_copy(update={"draws": None})


def _kept(pictures: Sequence[bytes]) -> list[bytes]:
    kept, size = [], 0
    for picture in pictures:
        size += len(picture)
        if size > _PICTURE_BYTES:
            break
        kept.append(picture)
    return kept


def _parquet(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {name: pa.array(values) for name, values in columns.items()}
    longest = max(len(array) for array in arrays.values())
    padded = {
        name: pa.concat_arrays([array, pa.nulls(longest - len(array), array.type)])
        for name, array in arrays.items()
    }
    buffer = io.BytesIO()
    influences = [name for name in padded if name.startswith("influence.")]
    parquet.write_table(
        pa.table(padded),
        buffer,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in padded if name not in influences],
        column_encoding={name: "PLAIN" for name in influences},
        store_schema=False,
    )
    return buffer.getvalue()


def _replaced(path: Path) -> ReplacedRecord | None:
    if not path.is_file():
        return None
    try:
        before: BaselineDocument = read_document(path, BaselineDocument)
    except StoreError:
        return None  # a damaged one can be mended only by accepting anew
    values = {
        named((record.metric, record.extractor)): record.value
        for record in before.looks[-1].estimates
    }
    return ReplacedRecord(
        accepted=before.accepted, author=before.author, reason=before.reason, values=values
    )


def _column(key: Key, n: int) -> str:
    return f"influence.{named(key)}:{n}"


def _beside(path: Path) -> Path:
    return path.with_suffix(".parquet")


def snapped(snapshot: Snapshot) -> Snapshot:
    """The snapshot as it would be read back: influences in whole steps."""
    estimates = {}
    for key, found in snapshot.estimates.items():
        values = influence_of(found, key)
        if values is not None:
            steps, worth = in_steps(values)
            values = torch.from_numpy(steps.astype(np.float64) * worth)
        estimates[key] = against_this_reference(found, values, key)
    return replace(snapshot, estimates=estimates)


def changes(before: Path, after: Path) -> list[tuple[str, ...]]:
    """What baselines accept that others did not.

    Returns:
        Lines of suite, generator, metric, value before, value after, when and by whom, reason.
        Where one side has no such generator, its values are dashes.

    Raises:
        NotComparableError: If neither folder is there.
        StoreError: As ``read``.
    """
    if not before.is_dir() and not after.is_dir():
        raise NotComparableError(f"neither {before} nor {after} is a folder of baselines")
    sides = [
        {(path.parent.name, path.stem): read(path) for path in sorted(folder.glob("*/*.json"))}
        for folder in (before, after)
    ]
    lines = []
    for suite, generator in dict.fromkeys([*sides[0], *sides[1]]):
        was, is_ = (side.get((suite, generator)) for side in sides)
        if was and is_ and was.document.sha256 == is_.document.sha256:
            continue
        values = [_values(one) for one in (was, is_)]
        about = (is_ or was).document  # type: ignore[union-attr]
        when = "removed" if is_ is None else f"{about.accepted[:10]} {about.author}"
        why = "" if is_ is None else about.reason
        for key in dict.fromkeys([*values[0], *values[1]]):
            ends = [with_error(*side.get(key, (None, None))) for side in values]
            lines.append((suite, generator, key, *ends, when, why))
    return lines


def _values(one: Baseline | None) -> dict[str, tuple[float | None, float | None]]:
    if one is None:
        return {}
    return {named((r.metric, r.extractor)): (r.value, r.stderr) for r in one.final.estimates}
