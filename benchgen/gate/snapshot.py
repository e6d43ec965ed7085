"""A generator at one look: what a baseline keeps, and what a gate compares with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchgen.runs.documents import SourceRecord
from benchgen.stats.estimates import Estimate, Influence
from benchgen.stats.paired import Difference, difference

Key = tuple[str, str | None]
"""A metric's label and its extractor's (None where it reads none)."""

_STEPS = 2**15 - 1
_HALVED = 1.1
"""Where the reference stays, what halving says of paired images' differences falls short by up to a
tenth: without this, a harm as large as the margin is called unchanged in 8 %, not 5 % (recall,
n = 500; benchmarks/gate.py)."""


@dataclass(frozen=True)
class Classes:
    """What one classifier or measure sees in each image.

    Attributes:
        names: What it tells apart.
        reader: The fields that address its results: where they differ, so may what it sees.
        values: One of the names for each image, or "", ``[n]``.
    """

    names: tuple[str, ...]
    reader: Mapping[str, Any]
    values: np.ndarray


@dataclass(frozen=True)
class Snapshot:
    """One generator, scored on its first n images.

    Attributes:
        n: Images asked for; ``excluded`` of them could not be used.
        estimates: By metric and extractor; influences of generated images alone, in whole steps.
        fingerprints: What makes each estimate comparable, as fields.
        seen: By reader, the class that it sees in each image.
        clusters: Column whose equal values say which images are not independent, or None.
    """

    source: SourceRecord
    n: int
    excluded: int
    estimates: Mapping[Key, Estimate]
    fingerprints: Mapping[Key, Mapping[str, Any]]
    seen: Mapping[str, Classes]
    clusters: str | None


def pairable(one: Snapshot, other: Snapshot) -> bool:
    """Whether image i of both came from the same seed and depends on (seed, i) alone.

    Files without a seed pair with themselves.
    """
    a, b = one.source, other.source
    if (one.n, one.clusters) != (other.n, other.clusters) or one.excluded or other.excluded:
        return False
    if a.seed is None:
        return a.fingerprint == b.fingerprint
    return a.seed == b.seed and bool(a.index_pure and b.index_pure)


def influence_of(found: Estimate, key: Key) -> torch.Tensor | None:
    """What is compared in pairs: of generated images, or of real ones in a likelihood."""
    return found.influence.fake if key[1] is not None else found.influence.real


def in_steps(influence: torch.Tensor) -> tuple[np.ndarray, float]:
    """An influence in whole steps, int16 ``[n]``, and what a step is worth.

    A step is 1/32767 of the largest: next to nothing beside the spread. Equal influences stay
    equal, so an image that has not changed keeps a difference of exactly zero.
    """
    values = influence.double().cpu().numpy()
    largest = float(np.abs(values).max(initial=0.0))
    step = largest / _STEPS if largest > 0 else 1.0
    return np.rint(values / step).astype(np.int16), step


def gated_difference(a: Estimate, b: Estimate, *, paired: bool) -> Difference:
    """``a - b``, both against the one reference of a gate; raises as ``difference``."""
    found = difference(a, b, paired=paired, shared_reference=True)
    halved = paired and a.halvings is not None and b.halvings is not None
    return found.widened(_HALVED) if halved else found


def against_this_reference(found: Estimate, values: torch.Tensor | None, of: Key) -> Estimate:
    """An estimate whose reference is the same on both sides of a gate, and so no source of error.

    ``values`` are the influences of the generated images; of those of the reference where the
    metric reads no generated image (a likelihood).
    """
    influence = Influence(values, None) if of[1] is not None else Influence(None, values)
    law = None if found.law is None else replace(found.law, draws=None)
    return replace(found, influence=influence, real_clusters=None, law=law)
