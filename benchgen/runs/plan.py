"""From a suite to what will be done: sources, loaded extractors, families and fingerprints."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchgen.errors import (
    BenchgenError,
    ImageError,
    PluginError,
    SuiteError,
    UnknownIdError,
    blamed,
)
from benchgen.features.extractor import Extractor, Measure
from benchgen.hashing import digest
from benchgen.host.loader import Host, Registered, host, with_defaults
from benchgen.host.specs import ExtractorSpec, GeneratorSpec, MetricSpec, ReferenceSpec
from benchgen.images.array import load_array
from benchgen.images.folder import FolderSource
from benchgen.images.generated import GeneratedSource
from benchgen.images.pixels import QUANTISATION
from benchgen.images.source import Source
from benchgen.images.split import halves, shuffled
from benchgen.metrics.base import Family
from benchgen.runs.documents import SourceRecord
from benchgen.runs.environment import resolve_device
from benchgen.suite import Chosen, GeneratorChoice, Images, MetricChoice, Suite

NOISE = "benchgen/noise"
_RESERVED = ("real", "noise", "reference")


@dataclass(frozen=True)
class Row:
    """One line of the comparison: its images, how many, and its record for the documents."""

    kind: Literal["generator", "real", "noise"]
    source: Source
    record: SourceRecord
    n: int

    @property
    def name(self) -> str:
        return self.record.name


@dataclass(frozen=True, eq=False)
class Reader:
    """A loaded extractor or measure with the fields that address its results in the store."""

    label: str
    registered: Registered
    read: Any
    fields: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.read.classes if isinstance(self.registered.spec, ExtractorSpec) else ()

    @property
    def spatial(self) -> bool:
        return isinstance(self.registered.spec, ExtractorSpec) and self.registered.spec.spatial


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric of the suite: its label, spec and family (shared between metrics alike)."""

    label: str
    registered: Registered
    spec: MetricSpec
    family: Family
    parameters: dict[str, Any]

    def fingerprint(
        self, reader: Reader | None, reference: str, training: str | None, n: int
    ) -> dict[str, Any]:
        """What makes its score comparable, as fields.

        ``reader`` is the extractor, None where the metric reads none; ``reference`` and
        ``training`` are fingerprints of images.
        """
        fields: dict[str, Any] = {
            "metric": {
                "id": self.registered.id,
                "version": self.spec.version,
                "parameters": self.parameters,
            }
        }
        if reader is not None:
            fields["extractor"] = reader.fields
        if {"real", "test"} & set(self.spec.compares_with) or reader is None:
            fields["reference"] = reference
        if "train" in self.spec.compares_with:
            fields["training"] = training
        if self.spec.depends_on_n:
            fields["n"] = n
        return fields


@dataclass(frozen=True)
class Plan:
    """Everything that one run will do, checked before anything is sampled."""

    suite: Suite
    device: str
    reference: Source
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
        return metric.fingerprint(reader, self.reference.fingerprint, training, n)


def make_plan(suite: Suite) -> Plan:
    """Resolve and check a suite. Loads extractors; samples and decodes nothing but one image.

    Raises:
        UnknownIdError, SuiteError, PluginError: If the suite asks for what is not there.
        ImageError, WeightsError: If images or weights are missing.
    """
    plugins = host()
    device = resolve_device(suite.execution.device)
    messages: list[str] = []
    metrics = _metrics(plugins, suite.metrics)
    reference, held_out = _reference(plugins, suite)
    training = _training(plugins, suite, metrics)
    sources: list[tuple[Literal["generator", "real", "noise"], Source, SourceRecord]] = []
    for number, choice in enumerate(suite.generators):
        try:
            source, record = _generator(plugins, suite, choice, number, device)
        except BenchgenError as error:
            if not choice.optional or isinstance(error, SuiteError):
                raise
            messages.append(f"left out {choice.source}: {error}")
            continue
        sources.append(("generator", source, record))
    if held_out is not None:
        record = held_out[1].model_copy(update={"name": "real"})
        sources.append(("real", held_out[0], record))
    sources.append(("noise", *_noise(plugins, reference[0], suite.seed, device)))
    _check_names([record.name for kind, _, record in sources if kind == "generator"])
    rows = _with_n(suite, sources, messages)
    return Plan(
        suite=suite,
        device=device,
        reference=reference[0],
        reference_record=reference[1],
        training=training,
        rows=rows,
        extractors=load_readers(plugins, "extractor", suite.extractors, device),
        measures=load_readers(plugins, "measure", suite.measures, device),
        metrics=metrics,
        messages=tuple(messages),
    )


def open_images(
    plugins: Host, choice: Images, where: str, part: str = "reference"
) -> tuple[Source, SourceRecord]:
    """Open a folder, an array file or a registered reference.

    Raises:
        SuiteError: If it looks like a path and nothing is there.
        UnknownIdError: If it is neither a path nor a known id.
    """
    if _is_path(plugins, "reference", choice.source):
        path = Path(choice.source).expanduser()
        if not path.exists():
            raise SuiteError(
                f"{where}: there is nothing at {choice.source}; expected a folder of images, or "
                "a .npy or .npz file"
            )
        if choice.params:
            raise SuiteError(f"{where}.params: {choice.source} is a path and takes none")
        source: Source = FolderSource(path) if path.is_dir() else load_array(path)
        kind: Literal["folder", "array"] = "folder" if path.is_dir() else "array"
        return source, _record(source, kind, choice.source, {})
    registered = plugins.find("reference", choice.source)
    parameters = with_defaults(registered, choice.params, where)
    with blamed(f"reference {registered.id}"):
        source = registered.spec.load(part=part, **parameters)
    if source.size is None:
        raise PluginError(f"reference {registered.id} is without end; a reference must be finite")
    record = _record(source, "reference", registered.id, parameters)
    assert isinstance(registered.spec, ReferenceSpec)
    return source, record.model_copy(
        update={
            "name": registered.spec.name,
            "version": registered.spec.version,
            "description": registered.spec.description,
            "license": registered.spec.license,
        }
    )


def slug(name: str) -> str:
    """A name as it may stand in a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "row"


def _reference(
    plugins: Host, suite: Suite
) -> tuple[tuple[Source, SourceRecord], tuple[Source, SourceRecord] | None]:
    """The reference, and the held-out images behind the row `real`."""
    choice = suite.reference
    opened, record = open_images(plugins, choice, "reference")
    if choice.real == "none":
        return (opened, record), None
    if choice.real is not None:
        real = open_images(plugins, Images(source=choice.real), "reference.real")
        return (opened, record), real
    if record.kind == "reference":
        return (opened, record), open_images(plugins, choice, "reference", part="held-out")
    first, second = halves(opened)
    return (first, _halved(record, first)), (second, _halved(record, second))


def _training(
    plugins: Host, suite: Suite, metrics: Sequence[Metric]
) -> tuple[Source, SourceRecord] | None:
    """The generators' training images, where a metric asks for them."""
    asking = [metric.label for metric in metrics if "train" in metric.spec.compares_with]
    if suite.training is not None:
        return open_images(plugins, suite.training, "training")
    if asking:
        raise SuiteError(
            f"{', '.join(asking)} compares with the generators' training images, and the suite "
            "names none; add [training] source = … to it, or --training on the command line"
        )
    return None


def _generator(
    plugins: Host, suite: Suite, choice: GeneratorChoice, number: int, device: str
) -> tuple[Source, SourceRecord]:
    where = f"generators.{number}"
    if _is_path(plugins, "generator", choice.source):
        source, record = open_images(plugins, choice, where)
        stem = Path(choice.source).expanduser().resolve().stem
        return source, record.model_copy(update={"name": slug(choice.name or stem)})
    registered = plugins.find("generator", choice.source)
    parameters = with_defaults(registered, choice.params, where)
    name = slug(choice.name or registered.spec.name)
    return _generated(registered, parameters, suite.seed, device, name)


def _generated(
    registered: Registered, parameters: dict[str, Any], seed: int, device: str, name: str
) -> tuple[GeneratedSource, SourceRecord]:
    source = GeneratedSource(registered, parameters, seed=seed, device=device, name=name)
    spec = registered.spec
    assert isinstance(spec, GeneratorSpec)
    record = _record(source, "generator", registered.id, parameters).model_copy(
        update={
            "name": name,
            "version": f"{registered.distribution_version}+{spec.version}",
            "description": spec.description,
            "seed": seed,
            "license": spec.license,
            "training_data": spec.training_data,
            "weights_sha256": spec.weights_sha256,
        }
    )
    return source, record


def _noise(
    plugins: Host, reference: Source, seed: int, device: str
) -> tuple[GeneratedSource, SourceRecord]:
    """Noise of the size and colour of the reference's first readable image."""
    first = next(
        (b.images for b in reference.read(range(min(8, reference.size or 8)), 1) if len(b.images)),
        None,
    )
    if first is None:
        raise ImageError(f"{reference.name}: none of its first images can be read")
    gray = bool((first[:, :1] == first).all())
    height, width = first.shape[-2:]
    parameters = {"height": height, "width": width, "channels": 1 if gray else 3}
    registered = plugins.find("generator", NOISE)
    return _generated(registered, parameters, seed, device, "noise")


def _with_n(
    suite: Suite,
    sources: Sequence[tuple[Literal["generator", "real", "noise"], Source, SourceRecord]],
    messages: list[str],
) -> tuple[Row, ...]:
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
        if size is not None and size > n and record.kind in ("folder", "array"):
            source = shuffled(source)  # files come class by class: the first n would be unfair
            record = record.model_copy(update={"fingerprint": source.fingerprint})
        rows.append(Row(kind, source, record, n if size is None else min(n, size)))
    return tuple(rows)


def load_readers(
    plugins: Host, kind: Literal["extractor", "measure"], chosen: Sequence[Chosen], device: str
) -> tuple[Reader, ...]:
    """Find and load extractors or measures.

    Raises:
        UnknownIdError, SuiteError, PluginError: If one is unknown, its parameters do not fit, or
            it cannot be loaded.
        WeightsError: If its weights are missing.
    """
    found = [plugins.find(kind, choice.id) for choice in chosen]
    labels = _labels(chosen, [registered.id for registered in found], f"{kind}s")
    readers = []
    for label, choice, registered in zip(labels, chosen, found, strict=True):
        parameters = with_defaults(registered, choice.params, f"{kind}s: {label}")
        arguments = {"device": device} if kind == "extractor" else {}
        with blamed(f"{kind} {registered.id}"):
            loaded: Extractor | Measure = registered.spec.load(**arguments, **parameters)
        fields = {
            "id": registered.id,
            "version": registered.spec.version,
            "pixels": QUANTISATION,
            **dict(loaded.fingerprint),
        }
        readers.append(Reader(label, registered, loaded, fields))
    return tuple(readers)


def _metrics(plugins: Host, chosen: Sequence[MetricChoice]) -> tuple[Metric, ...]:
    found = [plugins.find("metric", choice.id) for choice in chosen]
    labels = _labels(chosen, [registered.id for registered in found], "metrics")
    families: dict[str, Family] = {}
    metrics = []
    for label, choice, registered in zip(labels, chosen, found, strict=True):
        spec = registered.spec
        assert isinstance(spec, MetricSpec)
        with_defaults(registered, choice.params, f"metrics: {label}")
        arguments = dict(choice.params)
        if choice.convention is not None:
            arguments["convention"] = choice.convention
        key = digest({"factory": spec.factory, **arguments})
        with blamed(f"metric {registered.id}"):
            if key not in families:
                families[key] = spec.load(**arguments)
            parameters = dict(families[key].parameters)
        metrics.append(Metric(label, registered, spec, families[key], parameters))
    return tuple(metrics)


def _labels(chosen: Sequence[Chosen], ids: Sequence[str], where: str) -> list[str]:
    """For each choice its bare name, with the distribution or parameters where those set it apart.

    Raises:
        SuiteError: If two choices are the same.
    """
    labels = []
    for choice, identifier in zip(chosen, ids, strict=True):
        bare = identifier.rpartition("/")[2]
        alike = [other for other in ids if other.rpartition("/")[2] == bare]
        marks = [f"{key}={value}" for key, value in choice.params.items()]
        if isinstance(choice, MetricChoice) and choice.convention:
            marks.insert(0, choice.convention)
        name = bare if len(set(alike)) == 1 else identifier
        several = alike.count(identifier) > 1 and marks
        labels.append(f"{name}[{','.join(marks)}]" if several else name)
    for label in labels:
        if labels.count(label) > 1:
            raise SuiteError(f"{where}: {label} is named twice; leave one out")
    return labels


def _record(
    source: Source,
    kind: Literal["generator", "folder", "array", "reference"],
    identifier: str,
    parameters: dict[str, Any],
) -> SourceRecord:
    return SourceRecord(
        name=source.name,
        kind=kind,
        id=identifier,
        fingerprint=source.fingerprint,
        parameters=parameters,
        classes=list(source.classes),
        size=source.size,
    )


def _halved(record: SourceRecord, half: Source) -> SourceRecord:
    return record.model_copy(
        update={
            "fingerprint": half.fingerprint,
            "size": half.size,
            "description": f"one stratified half of {record.size} images",
        }
    )


def _check_names(names: list[str]) -> None:
    for name in names:
        if name in _RESERVED or names.count(name) > 1:
            taken = "is taken" if name in _RESERVED else "would be the name of two rows"
            raise SuiteError(
                f'{name!r} {taken}; give the row another name (in the suite: name = "…"; on the '
                "command line: --generator name=source)"
            )


def _is_path(plugins: Host, kind: str, text: str) -> bool:
    """Whether a source names a file or folder. A known id goes first; ``./name`` is never one."""
    if _looks_like_path(text):
        return True
    try:
        plugins.find(kind, text)
    except UnknownIdError:
        return Path(text).exists()
    return False


def _looks_like_path(text: str) -> bool:
    starts = text.startswith((".", "~", "/", os.sep)) or text.endswith((os.sep, "/"))
    return starts or text.endswith((".npy", ".npz")) or text.count("/") > 1
