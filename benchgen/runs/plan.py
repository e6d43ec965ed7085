"""From a suite to what will be done: every row with its images, and what is computed of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchgen.errors import BenchgenError, ImageError, SuiteError
from benchgen.host.loader import Host, host
from benchgen.images.source import Source
from benchgen.images.split import shuffled
from benchgen.metrics.frechet import KnownMoments
from benchgen.runs.chosen import Metric, Reader, load_metrics, load_readers
from benchgen.runs.documents import SourceRecord
from benchgen.runs.environment import resolve_device
from benchgen.runs.known_moments import MOMENTS, open_moments, require_moments_suffice
from benchgen.runs.sources import (
    Opened,
    open_generator,
    open_images,
    open_noise,
    open_real,
    open_reference,
)
from benchgen.suite import GeneratorChoice, Suite

_RESERVED = ("real", "noise", "reference")


@dataclass(frozen=True)
class Row:
    """One line of the comparison: its images, how many, and its record for the documents.

    ``choice`` is what the suite says of it; None of `real` and `noise`.
    """

    kind: Literal["generator", "real", "noise"]
    source: Source
    record: SourceRecord
    n: int
    choice: GeneratorChoice | None = None

    @property
    def name(self) -> str:
        return self.record.name


@dataclass(frozen=True)
class Plan:
    """Everything that one run will do, checked before anything is sampled.

    ``reference`` is None where the suite compares with known ``moments`` instead of images.
    """

    suite: Suite
    device: str
    reference: Source | None
    moments: KnownMoments | None
    reference_record: SourceRecord
    training: tuple[Source, SourceRecord] | None
    rows: tuple[Row, ...]
    extractors: tuple[Reader, ...]
    measures: tuple[Reader, ...]
    metrics: tuple[Metric, ...]
    messages: tuple[str, ...] = field(default=())

    @property
    def scores(self) -> list[tuple[Metric, Reader | None]]:
        """Every score of a row: each metric on each extractor, or on none where it reads none."""
        return [
            (metric, reader)
            for metric in self.metrics
            for reader in ((None,) if metric.spec.consumes == "likelihood" else self.extractors)
        ]

    def fingerprint(self, metric: Metric, reader: Reader | None, n: int) -> dict[str, Any]:
        """What makes a score of this plan comparable, as fields."""
        training = None if self.training is None else self.training[0].fingerprint
        return metric.fingerprint(reader, self.reference_record.fingerprint, training, n)


def make_plan(suite: Suite, *, trust_code: bool = False) -> Plan:
    """Resolve and check a suite. Loads extractors; samples and decodes nothing but one image.

    Args:
        suite: What to evaluate.
        trust_code: Whether sources and extractors that run the user's own code may be loaded.

    Raises:
        UnknownIdError, SuiteError, PluginError: If the suite asks for what is not there.
        UsageError: If it would run code that is not trusted.
        ImageError, WeightsError: If images or weights are missing.
    """
    plugins = host()
    device = resolve_device(suite.execution.device)
    messages: list[str] = []
    metrics = load_metrics(plugins, suite.metrics)
    reference, moments, record, held_out = _reference(plugins, suite, trust_code)
    training = _training(plugins, suite, metrics, trust_code)
    made = _generators(plugins, suite, device, trust_code, messages)
    sources: list[RowSource] = [("generator", *opened) for _, opened in made]
    if held_out is not None:
        sources.append(("real", held_out[0], held_out[1].model_copy(update={"name": "real"})))
    if not sources and reference is None:
        raise SuiteError(f"there is nothing to compare with {record.id}; add generators")
    if suite.noise:
        like = sources[0][1] if reference is None else reference
        sources.append(("noise", *open_noise(plugins, like, suite.seed, device)))
    _check_names([record.name for kind, _, record in sources if kind == "generator"])
    rows = _with_n(suite, sources, messages)
    own = [replace(row, choice=choice) for row, (choice, _) in zip(rows, made, strict=False)]
    rows = (*own, *rows[len(own) :])
    extractors = load_readers(plugins, "extractor", suite.extractors, device, trust_code=trust_code)
    if moments is not None:
        require_moments_suffice(record.id, moments, metrics, extractors)
    return Plan(
        suite=suite,
        device=device,
        reference=reference,
        moments=moments,
        reference_record=record,
        training=training,
        rows=rows,
        extractors=extractors,
        measures=load_readers(plugins, "measure", suite.measures, device),
        metrics=metrics,
        messages=tuple(messages),
    )


RowSource = tuple[Literal["generator", "real", "noise"], Source, SourceRecord]


def _reference(
    plugins: Host, suite: Suite, trust_code: bool
) -> tuple[Source | None, KnownMoments | None, SourceRecord, Opened | None]:
    """The reference's images or its moments, its record, and the held-out images."""
    choice = suite.reference
    if choice.source.startswith(MOMENTS):
        moments, record = open_moments(choice)
        return None, moments, record, open_real(plugins, choice, trust_code)
    (source, record), held_out = open_reference(plugins, choice, trust_code)
    return source, None, record, held_out


def _generators(
    plugins: Host, suite: Suite, device: str, trust_code: bool, messages: list[str]
) -> list[tuple[GeneratorChoice, Opened]]:
    """The suite's generators; optional ones that are not to be had are left out."""
    sources: list[tuple[GeneratorChoice, Opened]] = []
    for number, choice in enumerate(suite.generators):
        try:
            where = f"generators.{number}"
            opened = open_generator(plugins, choice, where, suite.seed, device, trust_code)
        except BenchgenError as error:
            if not choice.optional or isinstance(error, SuiteError):
                raise
            messages.append(f"left out {choice.source}: {error}")
            continue
        sources.append((choice, opened))
    return sources


def _training(
    plugins: Host, suite: Suite, metrics: Sequence[Metric], trust_code: bool
) -> Opened | None:
    """The generators' training images, where a metric asks for them."""
    asking = [metric.label for metric in metrics if "train" in metric.spec.compares_with]
    if suite.training is not None:
        return open_images(plugins, suite.training, "training", trust_code=trust_code)
    if asking:
        raise SuiteError(
            f"{', '.join(asking)} compares with the generators' training images, and the suite "
            "names none; add [training] source = … to it, or --training on the command line"
        )
    return None


def _with_n(suite: Suite, sources: Sequence[RowSource], messages: list[str]) -> tuple[Row, ...]:
    """Decide the number of images of each row."""
    finite = [source.size for _, source, _ in sources if source.size]
    n = suite.n or (min(10_000, *finite) if finite else 2_500)
    rows = []
    for kind, source, record in sources:
        size = source.size
        if size is not None and size < n:
            if kind == "generator":
                raise ImageError(
                    f"{record.name} ({record.id}) has {size} images; n is {n}. Say -n {size} or "
                    "less, or add images."
                )
            messages.append(f"row {record.name} has {size} images only; the others have {n}")
        if size is not None and size > n and record.kind != "reference":
            source = shuffled(source)  # files come class by class: the first n would be unfair
            record = record.model_copy(update={"fingerprint": source.fingerprint})
        rows.append(Row(kind, source, record, n if size is None else min(n, size)))
    return tuple(rows)


def _check_names(names: list[str]) -> None:
    for name in names:
        if name in _RESERVED or names.count(name) > 1:
            taken = "is taken" if name in _RESERVED else "would be the name of two rows"
            raise SuiteError(
                f'{name!r} {taken}; give the row another name (in the suite: name = "…"; on the '
                "command line: --generator name=source)"
            )
