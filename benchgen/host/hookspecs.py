"""The hooks a plugin may implement. Each returns an iterable of specs and loads nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from benchgen.host.specs import (
    ExtractorSpec,
    GeneratorSpec,
    MeasureSpec,
    MetricSpec,
    ReferenceSpec,
    TrainerSpec,
)

hookspec = pluggy.HookspecMarker("benchgen")
hookimpl = pluggy.HookimplMarker("benchgen")


@hookspec
def benchgen_generators() -> Iterable[GeneratorSpec | TrainerSpec]:
    """Image generators, and beside them how to train them."""
    return ()


@hookspec
def benchgen_references() -> Iterable[ReferenceSpec]:
    """Sets of real images."""
    return ()


@hookspec
def benchgen_extractors() -> Iterable[ExtractorSpec]:
    """Networks or functions from image to feature row."""
    return ()


@hookspec
def benchgen_measures() -> Iterable[MeasureSpec]:
    """Functions from image to named columns."""
    return ()


@hookspec
def benchgen_metrics() -> Iterable[MetricSpec]:
    """Metrics over feature sets."""
    return ()
