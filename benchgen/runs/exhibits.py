"""The images of a row that its report shows, written as PNG into the run directory.

They are read again by index once the scores are known: at most 88 images a row.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchgen.files import write_atomically
from benchgen.images.source import Source
from benchgen.runs.documents import Exhibit, Exhibits
from benchgen.stats.estimates import Estimate

if TYPE_CHECKING:
    from benchgen.runs.plan import Metric, Reader

SAMPLE = 64
OFFENDERS = 12


def choose_exhibits(
    source: Source,
    name: str,
    table: Mapping[str, Sequence[Any]],
    scored: Mapping[tuple[Metric, Reader], Estimate],
    directory: Path,
) -> Exhibits:
    """Keep the first images, and those that raise FID most and least by influence.

    Where the run has no FID, the first metric that knows its influence chooses.
    """
    sample = list(range(min(SAMPLE, len(table["index"]))))
    known = {key: e.influence.fake for key, e in scored.items() if e.influence.fake is not None}
    chosen = min(known, key=lambda key: key[0].spec.name != "fid", default=None)
    if chosen is None:
        return Exhibits(sample=save_images(source, sample, directory, name, table))
    influence = known[chosen]
    order = influence.argsort(descending=True, stable=True).tolist()
    count = min(OFFENDERS, len(order) // 2)
    raising, lowering = order[:count], order[len(order) - count :][::-1]
    rows = [*sample, *raising, *lowering]
    saved = save_images(source, rows, directory, name, table)
    marked = [
        e.model_copy(update={"influence": float(influence[r])})
        for e, r in zip(saved, rows, strict=True)
    ]
    s = len(sample)
    return Exhibits(
        sample=marked[:s],
        offender_metric=f"{chosen[0].label}@{chosen[1].label}",
        raising=marked[s : s + count],
        lowering=marked[s + count :],
    )


def save_images(
    source: Source,
    rows: Sequence[int],
    directory: Path,
    name: str,
    table: Mapping[str, Sequence[Any]],
) -> list[Exhibit]:
    """Write the images of these table rows as ``images/<name>/<index>.png``; say which is which."""
    indices = [int(table["index"][row]) for row in rows]
    for batch in source.read(sorted(set(indices)), SAMPLE):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, format="PNG")
            write_atomically(directory / _file(name, index), buffer.getvalue())
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
