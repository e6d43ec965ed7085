"""Scores and their estimates: for a run's rows, and for plain arrays (`benchgen.score`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.host.loader import host
from benchgen.host.specs import MetricSpec
from benchgen.metrics.base import Family, FeatureSet, TensorFeatures, all_rows, as_feature_set
from benchgen.metrics.frechet import KnownMoments
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.jackknife import Recompute, jackknife


def score(
    metric: str,
    *,
    fake: Any = None,
    real: Any = None,
    train: Any = None,
    test: Any = None,
    fake_logits: Any = None,
    clusters: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    real_groups: Sequence[Any] | None = None,
    convention: str | None = None,
    **params: Any,
) -> Estimate:
    """Score feature rows that you have, with standard error, interval and influence.

    Args:
        metric: A metric id, such as ``"fid"`` (``benchgen ls metrics`` lists them).
        fake: Features of the generated images: array, tensor or feature set ``[n, d]``. For
            ``"nll"``, the bits per dimension of each held-out image.
        real: Features of the reference images ``[m, d]``; logits where the metric reads those.
            For ``"authpct"``, features of the training images.
        train: Features of the generator's training images, where copying is in question.
        test: Features of real images that the generator was not trained on.
        fake_logits: Class logits of the generated images ``[n, K]``, where the metric reads
            those (``"is"``).
        clusters: One value per generated image; images that share one (a prompt, say) are not
            independent, and errors are computed over clusters.
        groups: One value per generated image; the estimate of each group, at equal n, comes in
            ``Estimate.groups``.
        real_groups: One value per reference image: each group is then compared with the
            reference images of its own group, equally many for all groups.
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
    references = _references(spec, metric, {"real": real, "train": train, "test": test})
    prepared = family.prepare(*references)
    found = estimates(family, prepared, rows, references, clusters)[spec.name]
    if groups is None:
        return found
    parts = {}
    for name, part in by_group(rows, groups, references, real_groups).items():
        own = None if clusters is None else [clusters[i] for i in part.indices]
        prepared = family.prepare(*part.references)
        scored = estimates(family, prepared, part.rows, part.references, own)
        parts[name] = scored[spec.name]
    return replace(found, groups=parts)


References = tuple[FeatureSet | KnownMoments | None, ...]


def estimates(
    family: Family,
    prepared: Any,
    rows: FeatureSet,
    references: References,
    clusters: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Mapping[str, Estimate]:
    """Every metric of a family for one row, as estimates by metric name.

    ``prepared`` is what the family made of ``references``. A score without influence, which says
    nothing of why, has its error from a jackknife: the family computes it again without each group
    of images.

    Raises:
        MetricError: If a value or standard error is not finite; and whatever the family raises.
    """
    m = references[-1].n if references and isinstance(references[-1], FeatureSet) else None
    found = {}
    for name, scored in family.compute(prepared, rows).items():
        if scored.value is None or scored.reason or scored.fake_influence is not None:
            seen = estimate(scored, n=rows.n, m=m, level=level, clusters=clusters)
        else:
            again = _recompute(family, prepared, rows, references, name)
            seen = jackknife(scored, again, n=rows.n, m=m, level=level, clusters=clusters)
        for what, number in (("value", seen.value), ("standard error", seen.stderr)):
            if number is not None and not math.isfinite(number):
                raise MetricError(
                    f"{name}: its {what} came out as {number}; the metric is at fault"
                )
        found[name] = seen
    return found


def _recompute(
    family: Family, prepared: Any, rows: FeatureSet, references: References, name: str
) -> Recompute:
    """The metric on a part of the generated or of the reference images."""

    def value(fake_kept: Tensor | None, real_kept: Tensor | None) -> float:
        made, given = prepared, rows
        if fake_kept is not None:
            given = _part(rows, fake_kept)
        if real_kept is not None and isinstance(last := references[-1], FeatureSet):
            made = family.prepare(*references[:-1], _part(last, real_kept))
        found = family.compute(made, given)[name].value
        if found is None:
            raise MetricError(f"{name} is undefined without some of its images; give more images")
        return found

    return value


def _part(features: FeatureSet, kept: Tensor) -> TensorFeatures:
    strata = getattr(features, "strata", None)
    rows = all_rows(features, "features")[kept]
    return TensorFeatures(rows, None if strata is None else strata[kept])


@dataclass(frozen=True)
class Part:
    """The images of one group: their indices, rows, and what to compare them with."""

    indices: list[int]
    rows: TensorFeatures
    references: References


def by_group(
    rows: FeatureSet,
    groups: Sequence[Any],
    references: References,
    real_groups: Sequence[Any] | None,
) -> dict[str, Part]:
    """The parts of a row, by the name of the group.

    Metrics may depend on n, so every group is cut to the number of the smallest; likewise the
    reference images, where ``real_groups`` tells whose they are.

    Raises:
        MetricError: If there is not one group per row, or a group has no reference image.
    """
    members = _equal_members(groups, rows.n, "groups")
    parts = _rows_of(rows, members)
    if real_groups is None:
        return {name: Part(members[name], part, references) for name, part in parts.items()}
    if len(references) != 1 or not isinstance(references[0], FeatureSet):
        raise MetricError("real_groups tells the groups of a single reference; there is not one")
    theirs = _equal_members(real_groups, references[0].n, "real_groups", set(parts))
    if missing := sorted(set(parts) - set(theirs)):
        known = ", ".join(map(repr, sorted({str(group) for group in real_groups})))
        raise MetricError(
            f"group {missing[0]!r} has no reference image (real_groups has {known}); leave its "
            "images out, or add real ones"
        )
    real = _rows_of(references[0], theirs)
    return {name: Part(members[name], part, (real[name],)) for name, part in parts.items()}


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
        what = "bits per dimension [n]" if spec.consumes == "likelihood" else "features [n, d]"
        raise MetricError(f"{metric} reads {what}; give fake=...")
    if spec.consumes == "likelihood" and not isinstance(fake, FeatureSet):
        fake = torch.as_tensor(fake).reshape(-1, 1)
    return as_feature_set(fake, "fake")


def _references(spec: MetricSpec, metric: str, given: Mapping[str, Any]) -> References:
    """What the metric compares with, in its own order. A lone reference may be called ``real``."""
    wanted = spec.compares_with
    unused = {name for name, value in given.items() if value is not None} - set(wanted)
    found: list[FeatureSet | None] = []
    for role in wanted:
        value = given[role]
        if value is None and len(wanted) == 1:
            value = given["real"]
            unused -= {"real"}
        if value is None and not spec.optional_reference:
            said = {"real": "real images", "train": "training images", "test": "test images"}
            raise MetricError(f"{metric} compares with {said[role]}; give {role}=[m, d]")
        found.append(None if value is None else as_feature_set(value, role))
    if unused - {"real"}:
        needs = ", ".join(wanted) or "no reference"
        raise MetricError(f"{metric} takes {needs}; leave out {', '.join(sorted(unused))}=")
    return tuple(found)


def _equal_members(
    groups: Sequence[Any], n: int, argument: str, among: set[str] | None = None
) -> dict[str, list[int]]:
    """The first indices of each group, as many as the smallest has."""
    if len(groups) != n:
        raise MetricError(f"{argument} has {len(groups)} values for {n} rows; expected one each")
    members: dict[str, list[int]] = {}
    for index, group in enumerate(map(str, groups)):
        if among is None or group in among:
            members.setdefault(group, []).append(index)
    size = min((len(indices) for indices in members.values()), default=0)
    return {group: indices[:size] for group, indices in sorted(members.items())}


def _rows_of(rows: FeatureSet, members: Mapping[str, list[int]]) -> dict[str, TensorFeatures]:
    return {group: _part(rows, torch.tensor(indices)) for group, indices in members.items()}
