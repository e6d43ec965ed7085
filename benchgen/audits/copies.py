"""Pictures of what looks copied: from the training images, or from each other."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageFilter

from benchgen.audits.documents import CopyRecord, RepeatedRecord
from benchgen.audits.limits import Repeats
from benchgen.features.store import Store, StoredFeatures
from benchgen.metrics.copying import copied_pairs
from benchgen.runs.directory import Result, Run, stored_pictures
from benchgen.runs.documents import EstimateRecord, SourceRecord

_SHOWN = 8
_GROUPS, _OF_GROUP = 6, 4
"""Groups of repeated images that are listed, exact or near; and pictures of each."""
_BLUR = 12
"""The share of a picture's side, as one over this, that blurring spreads a point over."""


def copies(run: Run, result: Result, *, plain: bool) -> list[CopyRecord]:
    """The closest pairs behind every copy rate that is surely above zero.

    Features and pictures are those in the feature store.

    Args:
        run: Names the training images.
        result: A generator's.
        plain: Show pictures as they are, not blurred.

    Raises:
        StoreError: If the store does not have them (any more).
    """
    training = run.document.training
    found: list[CopyRecord] = []
    for record in result.document.estimates:
        rate = record.interval is not None and record.interval[0] > 0
        if record.metric.partition("[")[0].rpartition("/")[2] == "copy-rate" and rate:
            assert training is not None
            found += _pairs(result, record, training, plain)
    return found


def repeated(result: Result, groups: Repeats, *, plain: bool) -> list[RepeatedRecord]:
    """The largest groups of a generator's images that repeat each other.

    Args:
        result: The generator's.
        groups: All of them.
        plain: Show pictures as they are, not blurred.

    Raises:
        StoreError: If the feature store does not have the pictures (any more).
    """
    same = [set(group) for group in groups.exact]
    near = [group for group in groups.near if set(group) not in same]
    chosen = [
        *((group, True) for group in groups.exact[:_GROUPS]),
        *((group, False) for group in near[:_GROUPS]),
    ]
    shown = result.pictures([index for group, _ in chosen for index in group[:_OF_GROUP]])
    return [
        RepeatedRecord(
            generator=result.name,
            exact=exact,
            indices=group,
            pictures=[_encoded(shown[index], plain) for index in group[:_OF_GROUP]],
        )
        for group, exact in chosen
    ]


def _pairs(
    result: Result, record: EstimateRecord, training: SourceRecord, plain: bool
) -> list[CopyRecord]:
    fields = result.document.fingerprints[record.fingerprint]
    reader = fields["extractor"]
    quantile = float(fields["metric"]["parameters"]["quantile"])
    train, test = (_features(one, reader) for one in (training, result.document.reference))
    assert record.extractor is not None
    pairs = copied_pairs(train, test, result.features(record.extractor), quantile)
    indices = result.columns["index"].tolist()
    # Rows of features are those of the images that could be used, in order of index.
    fake = [indices[row] for row in pairs.fake[:_SHOWN].tolist()]
    near = pairs.train[:_SHOWN].tolist()
    made, trained = result.pictures(fake), stored_pictures(training.fingerprint, near)
    return [
        CopyRecord(
            generator=result.name,
            metric=f"{record.metric}@{record.extractor}",
            index=index,
            training_index=other,
            distance=float(pairs.distance[place]),
            threshold=pairs.threshold,
            generated=_encoded(made[index], plain),
            training=_encoded(trained[other], plain),
        )
        for place, (index, other) in enumerate(zip(fake, near, strict=True))
    ]


def _features(source: SourceRecord, reader: Mapping[str, Any]) -> StoredFeatures:
    return Store().entry(source.fingerprint, reader).features(source.size or 0)


def _encoded(png: bytes, plain: bool) -> str:
    """A picture as PNG in base64; blurred, so that no face can be told, unless plain."""
    if plain:
        return base64.b64encode(png).decode()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(max(image.size) / _BLUR))
    buffer = io.BytesIO()
    blurred.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()
