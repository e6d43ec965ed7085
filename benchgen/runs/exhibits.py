"""The images of a row that its report shows, written as PNG into the run directory.

A small picture of every image is stored as the image passes, so none is sampled or read again.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchgen.files import write_atomically
from benchgen.runs.documents import Exhibit, Exhibits

if TYPE_CHECKING:
    from benchgen.runs.passes import Passed
    from benchgen.runs.scorer import Scores

SAMPLE = 64
OFFENDERS = 12


def choose_exhibits(
    passed: Passed,
    name: str,
    scored: Scores,
    directory: Path,
) -> Exhibits:
    """Keep the first images, and those that raise FID most and least by influence.

    Where the run has no FID, the first metric that knows its influence chooses.
    """
    sample = first_images(passed)
    known = {
        (metric, reader): e.influence.fake
        for (metric, reader), e in scored.items()
        if reader is not None and e.influence.fake is not None
    }
    chosen = min(known, key=lambda key: key[0].spec.name != "fid", default=None)
    if chosen is None:
        return Exhibits(sample=save_images(passed, sample, directory, name))
    metric, reader, influence = *chosen, known[chosen]
    order = influence.argsort(descending=True, stable=True).tolist()
    count = min(OFFENDERS, len(order) // 2)
    raising, lowering = order[:count], order[len(order) - count :][::-1]
    rows = [*sample, *raising, *lowering]
    saved = save_images(passed, rows, directory, name)
    marked = [
        e.model_copy(update={"influence": float(influence[r])})
        for e, r in zip(saved, rows, strict=True)
    ]
    s = len(sample)
    return Exhibits(
        sample=marked[:s],
        offender_metric=f"{metric.label}@{reader.label}",
        raising=marked[s : s + count],
        lowering=marked[s + count :],
    )


def first_images(passed: Passed) -> list[int]:
    """The table rows of the images that stand for all."""
    return list(range(min(SAMPLE, len(passed.images["index"]))))


def save_images(passed: Passed, rows: Sequence[int], directory: Path, name: str) -> list[Exhibit]:
    """Write the images of these table rows as ``images/<name>/<index>.png``; say which is which."""
    table = passed.images
    indices = [int(table["index"][row]) for row in rows]
    for index, encoded in passed.pictures(indices).items():
        write_atomically(directory / _file(name, index), base64.b64decode(encoded))
    return [
        Exhibit(
            index=index,
            name=str(table["name"][row]),
            file=_file(name, index),
            label=table["label"][row],
        )
        for row, index in zip(rows, indices, strict=True)
    ]


def _file(name: str, index: int) -> str:
    return f"images/{name}/{index:07d}.png"
