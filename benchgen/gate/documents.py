"""What a gate reads and writes: the baseline of a generator, and the outcome of a gate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from benchgen.audits.documents import AuditDocument
from benchgen.runs.documents import Document, EstimateRecord, Finite, SourceRecord

# Worst first: of several, the first decides the exit code.
Word = Literal[
    "degraded",
    "implausible",
    "failed",
    "incomparable",
    "missing",
    "inconclusive",
    "improved",
    "unchanged",
]


class LookRecord(Document):
    """A generator scored on its first n images."""

    n: int
    excluded: int = Field(description="Images among these that could not be used.")
    estimates: list[EstimateRecord]
    fingerprints: dict[str, dict[str, Any]] = Field(
        description="What makes scores comparable, by hash."
    )
    steps: dict[str, Finite] = Field(
        description="By metric@extractor, what one unit of the stored influence is worth."
    )


class ClassesRecord(Document):
    """What a classifier or a measure tells apart; what it sees is a column beside the document."""

    names: list[str]
    reader: dict[str, Any] = Field(description="What makes what it sees comparable, as fields.")


class ReplacedRecord(Document):
    """What a baseline took the place of."""

    accepted: str
    author: str
    reason: str
    values: dict[str, Finite | None] = Field(description="By metric@extractor, at the budget.")


class BaselineDocument(Document):
    """What a generator was accepted to be: compared with at each look of a gate."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    accepted: str = Field(description="When, in UTC.")
    author: str
    reason: str
    suite: str = Field(description="Name of the suite.")
    source: SourceRecord
    reference: SourceRecord
    clusters: Literal["prompt", "group"] | None
    looks: list[LookRecord] = Field(min_length=1, description="By increasing n.")
    classes: dict[str, ClassesRecord] = Field(default_factory=dict, description="By reader.")
    moments: dict[str, str] = Field(
        description="By extractor, sha256 of mean and covariance of the features at the budget."
    )
    pictures: int = Field(description="How many of the first images are kept as pictures.")
    images_sha256: str = Field(description="Of the Parquet file beside this one.")
    replaced: ReplacedRecord | None = None
    sha256: str = Field(description="Of all other fields: an edited baseline is refused.")


class CheckRecord(Document):
    """One question that a gate asked of one generator."""

    generator: str
    check: str = Field(description='A metric@extractor; "class shares@…"; or "sampling".')
    verdict: Word
    n: int | None = Field(default=None, description="Images at which it was decided.")
    paired: bool | None = Field(default=None, description="Whether compared image by image.")
    baseline: Finite | None = None
    value: Finite | None = None
    harm: Finite | None = Field(
        default=None, description="By how much it is worse than the baseline; negative: better."
    )
    interval: tuple[Finite, Finite] | None = Field(
        default=None, description="Of the harm, at two-sided 95 %, for this check and look alone."
    )
    margin: Finite | None = Field(default=None, description="How much harm is put up with.")
    p_worse: Finite | None = Field(
        default=None,
        description="Of a harm within the margin, over all looks and (Holm) all checks.",
    )
    p_within: Finite | None = Field(
        default=None, description="Of a harm beyond the margin, over all looks of this check."
    )
    needed: int | None = Field(
        default=None, description="Images that would probably decide it, where inconclusive."
    )
    reason: str = Field(default="", description="What a reader should know of the verdict.")


class WorstPair(Document):
    """An image that got worse, with what the baseline had for the same seed."""

    generator: str
    index: int
    influence: Finite = Field(description="How much more it harms the metric than it did.")
    check: str
    before: str = Field(description="PNG, in base64.")
    after: str = Field(description="PNG, in base64.")


class GateDocument(Document):
    """The outcome of one gate."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    finished: str
    suite: str
    baselines: str = Field(description="Where the baselines were read.")
    alpha: Finite
    looks: list[int]
    made: dict[str, int] = Field(description="Images looked at, by generator.")
    seconds: Finite
    checks: list[CheckRecord]
    pairs: list[WorstPair] = Field(default_factory=list)
    audit: AuditDocument | None = Field(
        default=None, description="Of the same generators, where the suite's gate asks for it."
    )
    messages: list[str] = Field(default_factory=list)
    allow_inconclusive: bool = False

    @property
    def exit_code(self) -> int:
        """The first of: degraded 1, failed 3, not comparable or missing 4, inconclusive 5; or 0.

        An audit's exit code counts likewise.
        """
        found = {_CODES.get(check.verdict, 0) for check in self.checks}
        if self.audit is not None:
            found.add(self.audit.exit_code)
        if self.allow_inconclusive:
            found.discard(_INCONCLUSIVE)
        return min(found - {0}, default=0)


_INCONCLUSIVE = 5
_CODES: dict[Word, int] = {
    "degraded": 1,
    "implausible": 1,
    "failed": 3,
    "incomparable": 4,
    "missing": 4,
    "inconclusive": _INCONCLUSIVE,
}
