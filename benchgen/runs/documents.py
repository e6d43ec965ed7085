"""The documents a run leaves behind, with their JSON Schema. Undefined is null plus a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]

SourceKind = Literal[
    "generator", "reference", "folder", "archive", "array", "parquet", "callable", "moments"
]


class Document(BaseModel):
    """Base of all documents: unknown fields are errors, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRecord(Document):
    """What the images came from."""

    name: str = Field(description="Name of the row; unique within the run.")
    kind: SourceKind
    id: str = Field(
        description="Plugin id (distribution/name), the path of a folder or file, or "
        "module:callable."
    )
    version: str = ""
    description: str = ""
    fingerprint: str = Field(description="sha256 of what decides the images and their order.")
    parameters: dict[str, Any] = Field(default_factory=dict)
    classes: list[str] = Field(default_factory=list)
    seed: int | None = Field(default=None, description="Seed of a generator; null for files.")
    index_pure: bool | None = Field(
        default=None,
        description="Whether image i depends on (seed, i) alone. Null where it does not apply.",
    )
    license: str = ""
    training_data: str = ""
    weights_sha256: str | None = None
    model_parameters: int | None = Field(
        default=None, description="Numbers that the loaded generator learnt; null if unknown."
    )
    size: int | None = Field(default=None, description="Images available; null if without end.")


class LawRecord(Document):
    """How the variance of a squared distance depends on it: what a comparison needs to know."""

    null_variance: Finite = Field(description="Variance where the two distributions are equal.")
    growth: Finite = Field(description="What a unit of distance adds.")
    bias: Finite = Field(description="What the value exceeds the distance by, in expectation.")
    draws: list[list[Finite]] | None = Field(
        default=None,
        description="The second order with signs turned at random, by pairs of generated images, "
        "pairs across, and pairs of real images.",
    )


class EstimateRecord(Document):
    """One metric of one row, seen statistically."""

    metric: str
    extractor: str | None = Field(
        description="Label of the extractor in the suite; null where the metric reads none."
    )
    value: Finite | None
    stderr: Finite | None
    interval: tuple[Finite, Finite] | None
    level: Finite
    n: int = Field(description="Images of this row; for `nll`, the held-out images weighed.")
    m: int | None = Field(description="Images of the reference; null where it does not enter.")
    method: str
    degrees: Finite | None = Field(
        default=None, description="Degrees of freedom of the standard error; null where many."
    )
    law: LawRecord | None = Field(default=None, description="Of squared distances.")
    halvings: list[Finite] | None = Field(
        default=None,
        description="Deviations of the value in random halvings of the images, where the metric "
        "measures its error so.",
    )
    details: dict[str, Finite] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    reason: str | None = Field(default=None, description="Why something is undefined.")
    fingerprint: str = Field(description="Key into `fingerprints`.")


class ClassShares(Document):
    """How often each class of images, or each value of an attribute, is seen in a row."""

    reader: str = Field(description="The extractor whose classifier, or the measure, that sees it.")
    attribute: str = Field(description='The measure\'s column; "class" of a classifier.')
    classes: list[str]
    counts: list[int]


class ExcludedRecord(Document):
    """An image that was asked for but could not be used."""

    index: int
    name: str
    reason: str


class Exhibit(Document):
    """An image kept for the report."""

    index: int
    name: str
    file: str = Field(description="PNG, relative to the run directory.")
    label: str | None = None
    influence: Finite | None = Field(
        default=None, description="On `offender_metric`; positive raises the metric's value."
    )


class Exhibits(Document):
    """The images of a row that the report shows."""

    sample: list[Exhibit] = Field(default_factory=list, description="The first images, in order.")
    offender_metric: str | None = Field(
        default=None, description="metric@extractor whose influence chose the images below."
    )
    raising: list[Exhibit] = Field(default_factory=list, description="Raise the metric most.")
    lowering: list[Exhibit] = Field(default_factory=list, description="Raise it least.")


class Execution(Document):
    """What it took. Never part of what a result says; differs from run to run."""

    started: str
    finished: str
    device: str
    images_made: int = Field(description="Images read or sampled now; the rest was in the store.")
    source_seconds: Finite = Field(
        description="Spent sampling or decoding. Files are decoded ahead, while extractors work: "
        "the two times overlap then."
    )
    extract_seconds: Finite
    metric_seconds: Finite
    peak_rss_bytes: int | None = Field(
        description="Of the whole process, while it worked on this row (Linux; elsewhere, so far)."
    )
    peak_device_bytes: int | None = None
    environment: dict[str, str] = Field(description="Versions of Python and packages, platform.")


class ResultDocument(Document):
    """One row of one run: a generator, a folder, `real` or `noise`."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    row: Literal["generator", "real", "noise"]
    source: SourceRecord
    reference: SourceRecord
    n: int = Field(description="Images used.")
    estimates: list[EstimateRecord] = Field(default_factory=list)
    fingerprints: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="What makes scores comparable, by hash."
    )
    class_shares: list[ClassShares] = Field(default_factory=list)
    per_class: bool = Field(default=False, description="Whether `groups` was asked for.")
    clusters: Literal["prompt", "group"] | None = Field(
        default=None,
        description="Column whose equal values tell which images are not independent: errors are "
        "computed over these clusters. Null where each image stands alone.",
    )
    groups: dict[str, list[EstimateRecord]] = Field(
        default_factory=dict, description="Estimates within each class, by its name, at equal n."
    )
    excluded: list[ExcludedRecord] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = Field(default=None, description="Why this row could not be finished.")
    features: dict[str, str] = Field(
        default_factory=dict, description="Key in the feature store, by extractor label."
    )
    columns: str | None = Field(default=None, description="Parquet file of per-image columns.")
    exhibits: Exhibits = Field(default_factory=Exhibits)
    execution: Execution


class PluginRecord(Document):
    """One plugin as the loader found it."""

    plugin: str
    version: str
    state: Literal["active", "blocked", "broken", "incompatible", "shadowed"]
    reason: str = ""
    offers: list[str] = Field(default_factory=list)


class MetricRecord(Document):
    """What a report must know of a metric without loading the plugin that computes it."""

    id: str
    title: str
    direction: Literal["lower", "higher", "none"]
    unit: str
    scale: Finite
    depends_on_n: bool
    population: bool
    reads: str


class RunDocument(Document):
    """`run.json`: what was asked, how far it came, and where the results are."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    suite: dict[str, Any]
    suite_hash: str = Field(description="sha256 of the suite without its number of images.")
    command: str = Field(description="What to type to run it again.")
    status: Literal["running", "complete", "incomplete"]
    rows: list[str] = Field(description="Names of the rows, in order; results/<name>.json.")
    reference: SourceRecord | None = None
    training: SourceRecord | None = Field(
        default=None, description="The generators' training images, where copies are looked for."
    )
    reference_classes: list[ClassShares] = Field(default_factory=list)
    reference_sample: list[Exhibit] = Field(default_factory=list)
    metrics: list[MetricRecord] = Field(default_factory=list)
    plugins: list[PluginRecord] = Field(default_factory=list)
    messages: list[str] = Field(default_factory=list)


def json_schema(*more: type[Document]) -> dict[str, Any]:
    """JSON Schema of the result document, of run.json, and of ``more``: one with definitions."""
    from pydantic.json_schema import models_json_schema

    written: tuple[type[Document], ...] = (ResultDocument, RunDocument, *more)
    models: list[tuple[type[Document], Literal["serialization"]]] = [
        (model, "serialization") for model in written
    ]
    _, schema = models_json_schema(models, title="benchgen documents")  # type: ignore[arg-type]
    references = [{"$ref": f"#/$defs/{model.__name__}"} for model, _ in models]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "anyOf": references}


def now() -> str:
    """The time, as documents and logs state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
