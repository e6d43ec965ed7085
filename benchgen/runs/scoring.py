"""Scores and their estimates: for a run's rows, and for plain arrays (`benchgen.score`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchgen.errors import MetricError
from benchgen.host.loader import host
from benchgen.host.specs import MetricSpec
from benchgen.metrics.base import Family, FeatureSet, TensorFeatures, as_feature_set
from benchgen.stats.estimates import Estimate, estimate


def score(
    metric: str,
    *,
    fake: Any = None,
    real: Any = None,
    fake_logits: Any = None,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    convention: str | None = None,
    **params: Any,
) -> Estimate:
    """Score feature rows that you have, with standard error, interval and influence.

    Args:
        metric: A metric id, such as ``"fid"`` (``benchgen ls metrics`` lists them).
        fake: Features of the generated images: array, tensor or feature set ``[n, d]``.
        real: Features of the reference images ``[m, d]``.
        fake_logits: Class logits of the generated images ``[n, K]``, where the metric reads
            those (``"is"``).
        clusters: One value per generated image; images that share one (a prompt, say) are not
            independent, and errors are computed over clusters.
        groups: One value per generated image; the estimate of each group, at equal n, comes in
            ``Estimate.groups``.
        convention: The tool whose exact definition to follow, such as ``"torch-fidelity"``.
        **params: Parameters of the metric, such as ``k=5``.

    Returns:
        The estimate: value, stderr, 95 % interval, n, influence (fake ``[n]``, real ``[m]``)
        and notes.

    Raises:
        UnknownIdError: If there is no such metric.
        MetricError: If an input is missing, is not finite, has the wrong shape or too few rows.
    """
    registered = host().find("metric", metric)
    spec = registered.spec
    assert isinstance(spec, MetricSpec)
    arguments = dict(params) if convention is None else {**params, "convention": convention}
    family = _construct(spec, arguments)
    rows = _input(spec, metric, fake, fake_logits)
    reference = None
    if spec.needs_reference:
        if real is None:
            raise MetricError(f"{metric} compares with real images; give real=[m, d]")
        reference = as_feature_set(real, "real")
    prepared = family.prepare(reference)
    m = None if reference is None else reference.n
    scored = family.compute(prepared, rows)[spec.name]
    whole = estimate(scored, n=rows.n, m=m, clusters=clusters)
    if groups is None:
        return whole
    found = {}
    for name, part in _equal_groups(rows, groups).items():
        each = family.compute(prepared, part)[spec.name]
        found[name] = estimate(each, n=part.n, m=m)
    return replace(whole, groups=found)


def estimates(
    family: Family, prepared: Any, rows: FeatureSet, m: int | None, level: float
) -> Mapping[str, Estimate]:
    """Every metric of a family for one row, as estimates by metric name."""
    found = {}
    for name, scored in family.compute(prepared, rows).items():
        found[name] = estimate(scored, n=rows.n, m=m, level=level)
        for what, number in (("value", found[name].value), ("standard error", found[name].stderr)):
            if number is not None and not math.isfinite(number):
                raise MetricError(
                    f"{name}: its {what} came out as {number}; the metric is at fault"
                )
    return found


def _construct(spec: MetricSpec, arguments: dict[str, Any]) -> Family:
    try:
        family: Family = spec.load(**arguments)
    except TypeError as error:
        known = ", ".join(spec.parameters) or "none"
        raise MetricError(f"{spec.name}: {error}; its parameters are: {known}") from None
    return family


def _input(spec: MetricSpec, metric: str, fake: Any, fake_logits: Any) -> FeatureSet:
    if spec.consumes == "logits":
        if fake_logits is None:
            raise MetricError(f"{metric} reads class logits; give fake_logits=[n, K]")
        return as_feature_set(fake_logits, "fake_logits")
    if fake is None:
        raise MetricError(f"{metric} reads features; give fake=[n, d]")
    return as_feature_set(fake, "fake")


def _equal_groups(rows: FeatureSet, groups: Sequence[Any]) -> dict[str, TensorFeatures]:
    """The rows of each group, cut to the smallest group's number: metrics may depend on n."""
    names = [str(group) for group in groups]
    if len(names) != rows.n:
        raise MetricError(f"groups has {len(names)} values for {rows.n} rows; expected one each")
    everything = torch.cat(list(rows.blocks()))
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    size = min(len(indices) for indices in members.values())
    return {
        name: TensorFeatures(everything[torch.tensor(indices[:size])])
        for name, indices in sorted(members.items())
    }
