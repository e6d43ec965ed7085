"""What an audit leaves behind."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from benchgen.runs.documents import Document, Finite, SourceRecord

# Worst first.
Word = Literal["fail", "not run", "insufficient", "inconclusive", "pass", "shown"]

Interval = tuple[Finite | None, Finite | None]
"""Ends; null where there is none on that side."""


class CheckRecord(Document):
    """One question about one generator's images."""

    generator: str
    topic: Literal["attributes", "quality", "images"]
    check: str = Field(description="What is asked, in words.")
    verdict: Word = Field(
        description='"shown" where no limit is declared; "insufficient" where too few images are '
        "there to say anything."
    )
    effect: str = Field(default="", description="What the value is.")
    value: Finite | None = None
    interval: Interval | None = None
    limit: str = Field(default="", description="What was declared.")
    n: int | None = None
    p: Finite | None = Field(
        default=None, description="Of the limit being kept; adjusted (Holm) in `p_adjusted`."
    )
    p_adjusted: Finite | None = None
    needed: int | None = Field(
        default=None, description="Images that would probably decide it, where inconclusive."
    )
    reason: str = ""


class ShareRecord(Document):
    """How often one kind occurs."""

    kind: str
    count: int = Field(description="Images that are read as this kind.")
    read: Finite | None = Field(description="Null where only people have looked.")
    read_interval: tuple[Finite, Finite] | None
    corrected: Finite | None = Field(default=None, description="Outside [0, 1] where it came so.")
    corrected_interval: tuple[Finite, Finite] | None = None
    target: Finite | None = None


class ValueRecord(Document):
    """A metric of the images of one kind."""

    name: str
    value: Finite
    interval: tuple[Finite, Finite] | None


class KindRecord(Document):
    """How good and diverse the images of one kind are, beside the real ones of that kind."""

    kind: str
    n: int = Field(description="Images, the same for all kinds.")
    values: list[ValueRecord]


class AttributeRecord(Document):
    """The shares of one attribute in one generator's images."""

    generator: str
    attribute: str
    labeler: str = Field(description="Where the readings come from.")
    n: int
    unread: int = Field(description="Images that the labeler could not read.")
    clusters: str | None = Field(description="Column whose equal values are not independent.")
    correction: Literal["calibration", "truth"] | None = None
    confusion: list[list[int]] | None = Field(
        default=None, description="Counts: a row for each true kind; the last column is unread."
    )
    shares: list[ShareRecord]
    distances: dict[str, Finite] = Field(default_factory=dict)
    floors: dict[str, Finite] = Field(
        default_factory=dict, description="What a generator on target shows on average at this n."
    )
    kinds: list[KindRecord] = Field(
        default_factory=list, description="Where quality or diversity is asked for."
    )
    notes: list[str] = Field(default_factory=list)


class RepeatedRecord(Document):
    """Images of a generator that repeat each other."""

    generator: str
    exact: bool = Field(description="Equal pixels; else nearly equal perceptual hashes.")
    indices: list[int]
    pictures: list[str] = Field(description="Of the first few: PNG, in base64.")


class CopyRecord(Document):
    """A generated image that is nearer to a training image than real images are."""

    generator: str
    metric: str
    index: int
    training_index: int
    distance: Finite = Field(description="Of their features.")
    threshold: Finite = Field(description="Up to which an image counts as a copy.")
    generated: str = Field(description="PNG, in base64.")
    training: str = Field(description="PNG, in base64.")


class AuditDocument(Document):
    """The outcome of an audit."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    finished: str
    suite: str
    run: str
    command: str = Field(description="What makes this document anew.")
    digest: str = Field(description="sha256 of suite, run and all results that were read.")
    alpha: Finite
    reference: SourceRecord | None
    generators: list[SourceRecord]
    declared: dict[str, Any] = Field(description="The suite's [audit].")
    checks: list[CheckRecord]
    attributes: list[AttributeRecord] = Field(default_factory=list)
    repeated: list[RepeatedRecord] = Field(default_factory=list)
    copies: list[CopyRecord] = Field(
        default_factory=list, description="The closest pairs, where copies are surely there."
    )
    messages: list[str] = Field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The first of: failed 1, not run 3, inconclusive or insufficient 5; or 0."""
        found = {check.verdict for check in self.checks}
        if "fail" in found:
            return 1
        if "not run" in found:
            return 3
        return 5 if found & {"inconclusive", "insufficient"} else 0
