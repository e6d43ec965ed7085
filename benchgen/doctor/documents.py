"""What a self-test found, as a document. Undefined is null plus a reason, never NaN."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from benchgen.doctor.verdicts import Move, Verdict
from benchgen.runs.documents import Document, Finite, SourceRecord


class DefectRecord(Document):
    """A defect that was planted."""

    id: str
    name: str
    heading: str = Field(description="What tables call it.")
    kind: Literal["quality", "diversity", "copying"]
    unit: str
    strengths: list[Finite] = Field(description="Weakest to strongest.")
    sentence: str = Field(description="What exactly was done.")
    not_run: dict[str, str] = Field(
        default_factory=dict, description="Why a strength could not be planted, by strength."
    )


class ResponseRecord(Document):
    """One metric at one strength of one defect."""

    strength: Finite
    value: Finite | None
    stderr: Finite | None
    change: Finite | None = Field(description="The value less that of the perfect generator.")
    change_stderr: Finite | None
    p: Finite | None = Field(description="Of no change, two-sided.")
    p_adjusted: Finite | None = Field(description="Holm, over all responses of the metric.")
    move: Move | None = Field(description="Beyond its error; null where undefined.")
    harm: Finite | None = Field(description="The change in standard errors; positive is worse.")
    reason: str | None = Field(default=None, description="Why something is undefined.")


class FindingRecord(Document):
    """What a metric makes of a defect."""

    defect: str
    verdict: Verdict
    seen_from: Finite | None = Field(description="All strengths from this one on are worse.")
    better_at: list[Finite] = Field(description="Strengths at which the metric gets better.")
    monotone: bool | None = Field(description="Null where the metric does not move.")
    responses: list[ResponseRecord]


class MetricFindings(Document):
    """One metric: what it says of a perfect generator, and of every defect."""

    id: str
    name: str
    title: str
    version: str
    direction: Literal["lower", "higher", "none"]
    unit: str
    scale: Finite
    value: Finite = Field(description="Of real images that play a perfect generator.")
    stderr: Finite | None
    notes: list[str] = Field(default_factory=list)
    reason: str | None = Field(default=None, description="Why its error is unknown.")
    findings: list[FindingRecord]
    seconds: Finite = Field(description="Its share of the time that its family took.")

    def finding(self, defect: str) -> FindingRecord:
        """What it makes of one defect."""
        return next(found for found in self.findings if found.defect == defect)


class DoctorDocument(Document):
    """`doctor.json`: everything that a self-test found."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    command: str = Field(description="What to type to run it again.")
    reference: SourceRecord
    images: int = Field(description="Real images that there were.")
    n: int = Field(description="Images of the reference, the training set and every test set.")
    reserve: int = Field(description="Further images, for defects that swap images.")
    seed: int
    extractor: str
    extractor_fields: dict[str, Any]
    alpha: Finite
    defects: list[DefectRecord]
    metrics: list[MetricFindings]
    not_run: dict[str, str] = Field(description="Why a metric could not be examined, by id.")
    conclusions: list[str] = Field(description="Which metric to trust for what.")
    extract_seconds: Finite
    metric_seconds: Finite
    environment: dict[str, str]
