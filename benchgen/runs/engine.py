"""Carries a plan out: pass, score, write; resumes, extends, and never loses what is finished."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchgen.errors import BenchgenError, StoreError, SuiteError
from benchgen.files import write_atomically
from benchgen.hashing import digest
from benchgen.images.generated import GeneratedSource
from benchgen.runs.carrier import Carrier
from benchgen.runs.directory import Run, influence_column, read_document
from benchgen.runs.documents import (
    EstimateRecord,
    ExcludedRecord,
    Execution,
    ResultDocument,
    RunDocument,
    now,
)
from benchgen.runs.environment import environment, forget_peaks, peak_rss_bytes
from benchgen.runs.exhibits import choose_exhibits, first_images, save_images
from benchgen.runs.passes import Observer, Passed
from benchgen.runs.plan import Plan, Row, make_plan
from benchgen.runs.ranges import Timing
from benchgen.runs.records import (
    class_shares,
    decoding_warnings,
    metric_record,
    plugin_records,
    score_records,
)
from benchgen.runs.scorer import Scores
from benchgen.suite import Suite
from benchgen.version import __version__


def default_directory(suite: Suite) -> Path:
    """``runs/<name>-<hash of the suite without n>``: the same suite finds its run again."""
    return Path("runs") / f"{suite.name}-{suite.hash[:8]}"


def execute(
    suite: Suite,
    out: str | os.PathLike[str] | None,
    observer: Observer,
    *,
    trust_code: bool = False,
) -> Run:
    """Bring a suite's run to its end, from wherever it stands; raises as `evaluation.run` does."""
    directory = Path(out) if out is not None else default_directory(suite)
    _refuse_other_run(directory, suite)
    plan = make_plan(suite, trust_code=trust_code)
    for text in plan.messages:
        observer.message(text)
    engine = _Engine(plan, directory, observer, trust_code)
    if engine.finished():
        observer.message(f"{directory} is finished; nothing to do")
    else:
        engine.carry_out()
    return Run(directory)


class _Engine:
    """One plan in one directory."""

    def __init__(self, plan: Plan, directory: Path, observer: Observer, trust_code: bool) -> None:
        self.plan = plan
        self.directory = directory
        self.observer = observer
        self.trust_code = trust_code
        self.carrier = Carrier(plan, observer, self._log)

    def finished(self) -> bool:
        """Whether every row has a result that says what this plan would."""
        path = self.directory / "run.json"
        if not path.is_file():
            return False
        document = read_document(path, RunDocument)
        return (
            document.status == "complete"
            and document.rows == [row.name for row in self.plan.rows]
            and all(self._is_done(row) for row in self.plan.rows)
        )

    def carry_out(self) -> None:
        """Do every row that is not done, and record how it ended."""
        plan = self.plan
        self._write_run("running")
        write_atomically(self.directory / "suite.toml", plan.suite.toml())
        self._log("start", benchgen=__version__, n=plan.suite.n)
        self.carrier.open()
        failed = False
        for row in plan.rows:
            if self._is_done(row):
                continue
            try:
                document = self._row(row)
            except StoreError:
                raise
            except BenchgenError as error:
                self.observer.message(f"{row.name} failed: {error}")
                self._log("failed", row=row.name, error=str(error))
                document = self._document(row, started=now(), error=str(error))
                failed = True
            self._write_result(document)
            self._log("row", row=row.name, error=document.error)
        self._write_run("incomplete" if failed else "complete")
        self._log("end", status="incomplete" if failed else "complete")

    def _row(self, row: Row) -> ResultDocument:
        started = now()
        forget_peaks()
        found = self.carrier.score(row, row.n)
        row = found.row
        passed, clusters, suite = found.passed, found.clusters, self.plan.suite
        warnings: list[str] = []
        if row.record.index_pure is False:
            warnings.append(
                f"{row.name}: images depend on more than (seed, index), so they are not "
                "paired with other generators'"
            )
        if clusters.note is not None:
            warnings.append(clusters.note)
        if isinstance(row.source, GeneratedSource):
            warnings += row.source.warnings
        warnings += decoding_warnings(passed, row.name)
        if suite.per_class and not found.by_class:
            warnings.append(
                f"{row.name}: no values per class: its images and the reference's need labels of "
                "the same classes"
            )
        records, fingerprints = score_records(found.scores, self.plan)
        columns = self._write_columns(row.name, passed, found.scores, records)
        return self._document(
            row,
            started=started,
            passed=passed,
            metric_seconds=found.metric_seconds,
            estimates=records,
            fingerprints=fingerprints,
            per_class=suite.per_class,
            groups={name: score_records(of, self.plan)[0] for name, of in found.by_class.items()},
            clusters=clusters.column,
            class_shares=class_shares(passed, self.plan),
            excluded=[
                ExcludedRecord(index=e.index, name=e.name, reason=e.reason) for e in passed.excluded
            ],
            warnings=warnings,
            features={label: entry.key for label, entry in passed.extracted.items()},
            columns=columns,
            exhibits=choose_exhibits(passed, row.name, found.scores, self.directory),
        )

    def _write_columns(
        self,
        name: str,
        passed: Passed,
        scored: Scores,
        records: Sequence[EstimateRecord],
    ) -> str:
        """Per-image columns as Parquet: what is known of each image, and its influence."""
        import pandas as pd

        tables = {"": passed.table(self.plan.extractors)}
        if self.carrier.reference is not None:
            tables[".reference"] = {"index": self.carrier.reference.images["index"]}
        for found, record in zip(scored.values(), records, strict=True):
            sides = ("", found.influence.fake), (".reference", found.influence.real)
            for side, influence in sides:
                if influence is not None:
                    tables[side][influence_column(record)] = influence.tolist()
        for side, table in tables.items():
            buffer = io.BytesIO()
            pd.DataFrame(table).to_parquet(buffer, index=False)
            write_atomically(self.directory / f"columns/{name}{side}.parquet", buffer.getvalue())
        return f"columns/{name}.parquet"

    def _document(
        self,
        row: Row,
        *,
        started: str,
        passed: Passed | None = None,
        metric_seconds: float = 0.0,
        **fields: Any,
    ) -> ResultDocument:
        timing = passed.timing if passed is not None else Timing()
        cuda = self.plan.device.startswith("cuda")
        return ResultDocument(
            benchgen_version=__version__,
            row=row.kind,
            source=row.record,
            reference=self.plan.reference_record,
            n=row.n if passed is None else row.n - len(passed.excluded),
            execution=Execution(
                started=started,
                finished=now(),
                device=self.plan.device,
                images_made=timing.images,
                source_seconds=timing.source_seconds,
                extract_seconds=timing.extract_seconds,
                metric_seconds=metric_seconds,
                peak_rss_bytes=peak_rss_bytes(),
                peak_device_bytes=torch.cuda.max_memory_allocated() if cuda else None,
                environment=environment(),
            ),
            **fields,
        )

    def _is_done(self, row: Row) -> bool:
        """Whether the row's result is there and was made from the very same things."""
        path = self._result_path(row.name)
        if not path.is_file():
            return False
        document = read_document(path, ResultDocument)
        wanted = {(m.label, None if r is None else r.label) for m, r in self.plan.scores}
        return (
            document.error is None
            and document.per_class == self.plan.suite.per_class
            and document.benchgen_version == __version__
            and document.source.fingerprint == row.record.fingerprint
            and document.reference.fingerprint == self.plan.reference_record.fingerprint
            and document.n + len(document.excluded) == row.n
            and {(r.metric, r.extractor) for r in document.estimates} == wanted
            and all(r.level == self.plan.suite.level for r in document.estimates)
            and set(document.fingerprints) == self._fingerprints(document)
        )

    def _fingerprints(self, document: ResultDocument) -> set[str]:
        """The fingerprints that this plan would give the scores of a result."""
        sizes = {(r.metric, r.extractor): r.n for r in document.estimates}
        found = set()
        for metric, reader in self.plan.scores:
            label = None if reader is None else reader.label
            n = sizes.get((metric.label, label), document.n)
            found.add(digest(self.plan.fingerprint(metric, reader, n)))
        return found

    def _result_path(self, name: str) -> Path:
        return self.directory / "results" / f"{name}.json"

    def _write_result(self, document: ResultDocument) -> None:
        text = document.model_dump_json(indent=1)
        write_atomically(self._result_path(document.source.name), text + "\n")

    def _write_run(self, status: str) -> None:
        plan = self.plan
        shares = class_shares(self.carrier.reference, plan) if self.carrier.reference else []
        exhibits = []
        messages = list(plan.messages)
        if self.carrier.reference is not None:
            messages += decoding_warnings(self.carrier.reference, "reference")
            sample = first_images(self.carrier.reference)
            exhibits = save_images(self.carrier.reference, sample, self.directory, "reference")
        document = RunDocument.model_validate(
            {
                "benchgen_version": __version__,
                "suite": plan.suite.model_dump(mode="json"),
                "suite_hash": plan.suite.hash,
                "command": f"benchgen run {self.directory}/suite.toml --out {self.directory}"
                + (" --trust-code" if self.trust_code else ""),
                "status": status,
                "rows": [row.name for row in plan.rows],
                "reference": plan.reference_record,
                "training": None if plan.training is None else plan.training[1],
                "reference_classes": shares,
                "reference_sample": exhibits,
                "metrics": [metric_record(metric) for metric in plan.metrics],
                "plugins": plugin_records(),
                "messages": messages,
            }
        )
        write_atomically(self.directory / "run.json", document.model_dump_json(indent=1) + "\n")

    def _log(self, event: str, **fields: Any) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"at": now(), "event": event, **fields})
        try:
            with open(self.directory / "events.jsonl", "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StoreError(f"cannot write {self.directory}/events.jsonl: {error}") from error


def _refuse_other_run(directory: Path, suite: Suite) -> None:
    """A directory may be extended by n, generators and metrics, but not turned into another run."""
    if not (directory / "run.json").is_file():
        if directory.is_dir() and any(directory.iterdir()):
            raise SuiteError(
                f"--out {directory} is not empty and holds no run; name an empty or new directory"
            )
        return
    before = read_document(directory / "run.json", RunDocument).suite
    now = suite.model_dump(mode="json")
    fixed = ("name", "reference", "seed", "level", "clusters")
    differing = [key for key in fixed if before.get(key) != now.get(key)]
    if differing:
        listed = "; ".join(f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in differing)
        raise SuiteError(
            f"{directory} holds a run of another suite ({listed}); choose another --out"
        )
