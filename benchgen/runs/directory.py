"""The run directory: written atomically by the engine, read by everything that comes after."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from benchgen.errors import StoreError, UsageError
from benchgen.runs.clusters import restored
from benchgen.runs.documents import EstimateRecord, LawRecord, ResultDocument, RunDocument

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from benchgen.features.store import StoredFeatures
    from benchgen.metrics.base import SquaredDistance
    from benchgen.stats.estimates import Estimate, Influence


_INFLUENCE = "influence."


@dataclass(frozen=True)
class Result:
    """One row of a run: its document and, on demand, its per-image columns."""

    document: ResultDocument
    directory: Path

    @property
    def name(self) -> str:
        return self.document.source.name

    @cached_property
    def columns(self) -> pd.DataFrame:
        """One line per image: index, name, label, classes, measures and influences."""
        return self._parquet(self.document.columns)

    @cached_property
    def reference_columns(self) -> pd.DataFrame:
        """One line per reference image: index and its influence on each metric."""
        return self._parquet(self._reference_file)

    def features(self, extractor: str) -> StoredFeatures:
        """The feature rows of the images that could be used, from the feature store.

        Reading them raises StoreError if the store does not have them (any more).

        Args:
            extractor: Its label in the suite.

        Raises:
            UsageError: If the row was not read by it.
        """
        from benchgen.features.store import Store

        keys = self.document.features
        if extractor not in keys:
            raise UsageError(
                f"{self.name} has no features of {extractor}; it has: {', '.join(keys) or 'none'}"
            )
        n = self.document.n + len(self.document.excluded)
        return Store().find(keys[extractor]).features(n)

    def pictures(self, indices: Sequence[int]) -> dict[int, bytes]:
        """Small pictures of these images; as ``stored_pictures``."""
        return stored_pictures(self.document.source.fingerprint, indices)

    def estimate(self, metric: str, extractor: str | None = None) -> Estimate:
        """The estimate of a metric with its influence read back from the columns.

        Args:
            metric: A metric id.
            extractor: Label of the extractor; needed only where the metric was computed on
                several.

        Raises:
            UsageError: If the row has no such estimate, or several and no extractor is named.
        """
        import torch
        from torch.utils.dlpack import from_dlpack

        from benchgen.stats.estimates import Influence, cluster_indices

        record = self.record(metric, extractor)
        column = influence_column(record)

        clusters = None
        by = self.document.clusters
        if by is not None and record.method.endswith("clustered"):
            table = self._arrow(self.document.columns, lambda name: name == by)
            if table is not None and table.column_names:
                values = table.column(by).to_pylist()
                clusters = cluster_indices(restored(by, values), record.n, by)

        def influence(table: Any) -> torch.Tensor | None:
            if table is None or column not in table.column_names:
                return None
            # Not by way of NumPy: for that Arrow loads pandas.
            return torch.cat([from_dlpack(part).double() for part in table.column(column).chunks])

        both = Influence(influence(self._influences), influence(self._reference_influences))
        return estimate_of(record, both, clusters)

    def record(self, metric: str, extractor: str | None = None) -> EstimateRecord:
        """The estimate as the document states it (without influence)."""
        found = self._records.get(metric, [])
        if extractor is not None:
            found = [record for record in found if record.extractor == extractor]
        if len(found) == 1:
            return found[0]
        have = ", ".join(f"{r.metric}@{r.extractor}" for r in self.document.estimates) or "none"
        wanted = metric if extractor is None else f"{metric}@{extractor}"
        raise UsageError(
            f"{self.name} has {len(found)} estimates of {wanted}; expected one (it has: {have})"
        )

    @cached_property
    def _records(self) -> dict[str, list[EstimateRecord]]:
        found: dict[str, list[EstimateRecord]] = {}
        for record in self.document.estimates:
            found.setdefault(record.metric, []).append(record)
        return found

    @property
    def _reference_file(self) -> str | None:
        where = self.document.columns
        return where and where.replace(".parquet", ".reference.parquet")

    @cached_property
    def _influences(self) -> Any:
        return self._arrow(self.document.columns, _is_influence)

    @cached_property
    def _reference_influences(self) -> Any:
        return self._arrow(self._reference_file, _is_influence)

    def _arrow(self, relative: str | None, wanted: Callable[[str], bool]) -> Any:
        """Some columns of a Parquet file as Arrow has them (pandas takes long to load), or None."""
        from pyarrow import parquet

        if relative is None or not (self.directory / relative).is_file():
            return None
        with parquet.ParquetFile(self.directory / relative) as file:
            columns = [name for name in file.schema_arrow.names if wanted(name)]
            return file.read(columns, use_threads=False)

    def _parquet(self, relative: str | None) -> pd.DataFrame:
        import pandas as pd

        if relative is None or not (self.directory / relative).is_file():
            return pd.DataFrame()
        return pd.read_parquet(self.directory / relative)


def stored_pictures(fingerprint: str, indices: Sequence[int]) -> dict[int, bytes]:
    """Small pictures of a source's images by index, PNG, as the feature store keeps them.

    Raises:
        StoreError: If the store does not have them (any more).
    """
    import base64

    from benchgen.features.store import Store
    from benchgen.runs.readers import RECORDS

    wanted = set(indices)
    shards = Store().entry(fingerprint, RECORDS).shards(max(wanted, default=-1) + 1)
    return {
        index: base64.b64decode(encoded)
        for shard in shards
        for index, encoded in zip(
            shard.tensors["indices"].tolist(), shard.columns["picture"], strict=True
        )
        if index in wanted
    }


def estimate_of(
    record: EstimateRecord, influence: Influence, clusters: torch.Tensor | None
) -> Estimate:
    """An estimate again, from its record and what was written beside it."""
    from benchgen.stats.estimates import Estimate

    return Estimate(
        value=record.value,
        stderr=record.stderr,
        interval=record.interval,
        n=record.n,
        m=record.m,
        level=record.level,
        method=record.method,
        degrees=record.degrees,
        law=None if record.law is None else _law(record.law),
        halvings=_draws(record.halvings),
        influence=influence,
        details=dict(record.details),
        notes=tuple(record.notes),
        reason=record.reason,
        clusters=clusters,
    )


def _law(record: LawRecord) -> SquaredDistance:
    from benchgen.metrics.base import SquaredDistance

    return SquaredDistance(record.null_variance, record.growth, record.bias, _draws(record.draws))


def _draws(numbers: list[float] | list[list[float]] | None) -> torch.Tensor | None:
    import torch

    return None if numbers is None else torch.tensor(numbers, dtype=torch.float64)


def influence_column(record: EstimateRecord) -> str:
    """Name of the column that holds the influence behind an estimate."""
    return f"{_INFLUENCE}{record.metric}@{record.extractor}"


def _is_influence(column: str) -> bool:
    return column.startswith(_INFLUENCE)


class Run:
    """A run directory, finished or not.

    ``run["vae"]`` is one row's result; iterating yields the names of the rows that have one.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        path = self.directory / "run.json"
        if not path.is_file():
            raise UsageError(
                f"{self.directory} is not a run directory: it has no run.json. "
                "Name the directory that `benchgen run` wrote (its --out)."
            )
        self.document = read_document(path, RunDocument)

    @cached_property
    def results(self) -> dict[str, Result]:
        """The rows that have a result, in the order of the suite."""
        found = {}
        for name in self.document.rows:
            path = self.directory / "results" / f"{name}.json"
            if path.is_file():
                found[name] = Result(read_document(path, ResultDocument), self.directory)
        return found

    @property
    def failures(self) -> dict[str, str]:
        """Rows that could not be finished, with the reason."""
        return {
            name: result.document.error
            for name, result in self.results.items()
            if result.document.error is not None
        }

    @property
    def report(self) -> Path:
        """Where the HTML report is."""
        return self.directory / "report" / "index.html"

    def table(self) -> pd.DataFrame:
        """All estimates, one line each, with value, stderr, interval, n and rank."""
        from benchgen.runs.comparison import Comparison

        return Comparison.of([self]).table()

    def __getitem__(self, name: str) -> Result:
        if name not in self.results:
            raise UsageError(
                f"{self.directory} has no result called {name!r}; it has: {', '.join(self.results)}"
            )
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, {self.document.status}, {len(self.results)} rows)"


def read_document(path: Path, model: type[Any]) -> Any:
    """Read and validate one JSON document.

    Raises:
        StoreError: If it is not JSON, is of a newer schema, or does not fit; names the field.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_document(path, str(error)) from error
    return parse_document(content, model, path)


def parse_document(content: bytes, model: type[Any], path: str | os.PathLike[str]) -> Any:
    """Validate one JSON document; ``path`` is where it is from. Raises as ``read_document``."""
    try:
        raw = json.loads(content.decode("utf-8"))
        if raw.get("schema_version", 0) > 1:
            raise StoreError(
                f"{path} has schema_version {raw['schema_version']}; this benchgen reads 1. "
                "Upgrade benchgen."
            )
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise _no_document(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, AttributeError) as error:
        raise _no_document(path, str(error)) from error


def _no_document(path: str | os.PathLike[str], detail: str) -> StoreError:
    return StoreError(
        f"{path} is not a benchgen document: {detail}. Remove it and run again to make it anew."
    )
