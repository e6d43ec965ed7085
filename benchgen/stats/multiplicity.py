"""Adjusting p-values for the number of questions asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchgen.errors import MetricError


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted so that any false positive among them is rare (Holm 1979).

    Raises:
        MetricError: If a value is not between 0 and 1.
    """
    adjusted: list[float] = holm_array(_checked(p)).tolist()
    return adjusted


def holm_array(values: np.ndarray) -> np.ndarray:
    """The same of many p-values, float64 ``[k]``, which lie between 0 and 1."""
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """p-values adjusted so that few of the positives are false (Benjamini & Hochberg 1995).

    Raises:
        MetricError: If a value is not between 0 and 1.
    """
    values = _checked(p)
    if not len(values):
        return []
    return [float(value) for value in stats.false_discovery_control(values)]


def _checked(p: Sequence[float]) -> np.ndarray:
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise MetricError(f"p-values lie between 0 and 1; found {values.tolist()}")
    return values
