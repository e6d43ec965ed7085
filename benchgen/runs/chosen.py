"""What a suite chose, loaded: extractors and measures as readers, metrics with their families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchgen.errors import SuiteError, blamed
from benchgen.features.custom import custom_spec
from benchgen.features.extractor import Extractor, Measure
from benchgen.features.recoded import Recoded
from benchgen.hashing import digest
from benchgen.host.loader import Host, Registered, with_defaults
from benchgen.host.specs import ExtractorSpec, MetricSpec
from benchgen.images.pixels import QUANTISATION
from benchgen.metrics.base import Family
from benchgen.suite import Chosen, ExtractorChoice, MetricChoice

_OWN = "own"
"""Stands for the distribution of extractors that are the user's own files."""


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
    def columns(self) -> tuple[str, ...]:
        """Of a measure."""
        columns: tuple[str, ...] = self.read.columns
        return columns

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


def load_readers(
    plugins: Host,
    kind: Literal["extractor", "measure"],
    chosen: Sequence[Chosen],
    device: str,
    *,
    trust_code: bool = False,
) -> tuple[Reader, ...]:
    """Find and load extractors or measures.

    Raises:
        UnknownIdError, SuiteError, PluginError: If one is unknown, its parameters do not fit, or
            it cannot be loaded.
        UsageError: If it would run code that is not trusted.
        WeightsError: If its weights are missing.
    """
    found = [_registered(plugins, kind, choice.id, trust_code) for choice in chosen]
    labels = _labels(chosen, [registered.id for registered in found], f"{kind}s")
    readers = []
    for label, choice, registered in zip(labels, chosen, found, strict=True):
        parameters = with_defaults(registered, choice.params, f"{kind}s: {label}")
        arguments = {"device": device} if kind == "extractor" else {}
        with blamed(f"{kind} {registered.id}"):
            loaded: Extractor | Measure = registered.spec.load(**arguments, **parameters)
        if isinstance(choice, ExtractorChoice) and choice.jpeg is not None:
            loaded = Recoded(loaded, choice.jpeg)  # type: ignore[arg-type]
        fields = {
            "id": registered.id,
            "version": registered.spec.version,
            "pixels": QUANTISATION,
            **dict(loaded.fingerprint),
        }
        readers.append(Reader(label, registered, loaded, fields))
    return tuple(readers)


def load_metrics(plugins: Host, chosen: Sequence[MetricChoice]) -> tuple[Metric, ...]:
    """Find metrics, and build each family once.

    Raises:
        UnknownIdError, SuiteError, PluginError: If one is unknown, its parameters do not fit, or
            its family cannot be built.
    """
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


def _registered(
    plugins: Host, kind: Literal["extractor", "measure"], wanted: str, trust_code: bool
) -> Registered:
    """The spec of an id, or of the user's own network where the id says where that is."""
    own = custom_spec(wanted, trust_code) if kind == "extractor" else None
    return plugins.find(kind, wanted) if own is None else Registered(own, _OWN, "")


def _labels(chosen: Sequence[Chosen], ids: Sequence[str], where: str) -> list[str]:
    """For each choice its own or bare name, with distribution or parameters that set it apart.

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
        if isinstance(choice, ExtractorChoice) and choice.jpeg is not None:
            marks.append(f"jpeg={choice.jpeg}")
        name = bare if len(set(alike)) == 1 else identifier
        several = alike.count(identifier) > 1 and marks
        own = choice.name if isinstance(choice, ExtractorChoice) else None
        labels.append(own or (f"{name}[{','.join(marks)}]" if several else name))
    for label in labels:
        if labels.count(label) > 1:
            raise SuiteError(f"{where}: {label} is named twice; leave one out")
    return labels
