"""Feature sets around a generator's training images: the sets themselves, and what fits them."""

from __future__ import annotations

from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, all_rows


def require_given(features: FeatureSet | None, name: str, metric: str) -> FeatureSet:
    """A feature set that the metric cannot do without.

    Raises:
        MetricError: If there is none.
    """
    if features is None:
        what = {
            "train": "the generator's training images",
            "test": "real images that the generator was not trained on",
        }[name]
        raise MetricError(f"{metric} compares with {what}; give them ({name}=...)")
    return features


def reference_rows(features: FeatureSet | None, name: str, metric: str) -> Tensor:
    """All rows ``[m, d]`` of a set that must be there; raises MetricError where it is not."""
    return all_rows(require_given(features, name, metric), name)


def compared_rows(features: FeatureSet, name: str, train: Tensor, metric: str) -> Tensor:
    """All rows ``[n, d]`` of a set to be compared with training images ``[m, d]``.

    Raises:
        MetricError: If their numbers of columns differ, or a row is bad.
    """
    if features.d != train.shape[1]:
        raise MetricError(
            f"{metric}: {name} has {features.d} feature columns and train has {train.shape[1]}; "
            "extract both with the same extractor and layer"
        )
    return all_rows(features, name)
