"""Runs of synthetic models whose order is known, for leaderboards."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchgen.hashing import digest
from benchgen.runs.directory import Run
from benchgen.runs.documents import (
    EstimateRecord,
    Execution,
    Exhibit,
    Exhibits,
    MetricRecord,
    ResultDocument,
    RunDocument,
    SourceRecord,
)

METRICS = ("alpha", "beta", "gamma", "delta", "epsilon")
EXTRACTORS = ("inception", "clip", "dinov2", "efficientnet")
IMAGES = 500


@dataclass(frozen=True)
class Model:
    """What a synthetic model is: equal qualities are true ties; ``copies`` names its original."""

    name: str
    quality: float
    copies: str | None = None


def contenders(count: int, tied: int = 4, copied: int = 4) -> list[Model]:
    """Models of known order, best first: every so many share a quality, and some are copies."""
    own = count - copied
    models = [
        Model(f"model-{place:03d}", 10 + 0.05 * (place // tied * tied)) for place in range(own)
    ]
    step = max(1, own // max(1, copied))
    chosen = models[::step][:copied]
    return models + [Model(f"{one.name} copy", one.quality, one.name) for one in chosen]


def write_run(
    directory: Path,
    models: Sequence[Model],
    *,
    metrics: Sequence[str] = METRICS,
    extractors: Sequence[str] = EXTRACTORS,
    n: int = IMAGES,
    seed: int = 0,
    pictures: int = 0,
    **stated: str,
) -> Run:
    """A run of these models, and of `real` and `noise`: lower is better on every metric.

    Each image's score is the model's quality with noise, half of which all models share (the
    same seeds); copies score as their originals do. ``stated`` is what their sources say of
    themselves.
    """
    random = np.random.default_rng(seed)
    keys = [(metric, extractor) for metric in metrics for extractor in extractors]
    shared = random.normal(size=(len(keys), n))
    everyone = [*models, Model("real", 1.0), Model("noise", 60.0)]
    columns: dict[str, np.ndarray] = {}
    for model in everyone:
        own = random.normal(size=(len(keys), n))
        columns[model.name] = columns.get(model.copies or "", model.quality + shared + own)
    _write(
        directory / "run.json",
        RunDocument(
            benchgen_version="0.1.0",
            suite={"name": "synthetic", "n": n},
            suite_hash=digest("synthetic"),
            command="python benchmarks/leaderboard.py",
            status="complete",
            rows=[model.name for model in everyone],
            reference=_REFERENCE,
            metrics=[_metric(metric) for metric in metrics],
        ).model_dump_json(),
    )
    for model in everyone:
        _write_row(directory, model, keys, columns[model.name], pictures, _STATED | stated)
    return Run(directory)


_STATED = {"license": "MIT", "training_data": "made up"}
_REFERENCE = SourceRecord(
    name="reference", kind="reference", id="synthetic", fingerprint=digest("reference")
)


def _metric(name: str) -> MetricRecord:
    return MetricRecord(
        id=name,
        title=name.capitalize(),
        direction="lower",
        unit="",
        scale=1.0,
        depends_on_n=False,
        population=True,
        reads="A made-up distance.",
    )


def _write_row(
    directory: Path,
    model: Model,
    keys: Sequence[tuple[str, str]],
    scores: np.ndarray,
    pictures: int,
    stated: Mapping[str, str],
) -> None:
    n = scores.shape[1]
    estimates, prints, table = [], {}, {"index": np.arange(n)}
    for (metric, extractor), own in zip(keys, scores, strict=True):
        fields = {"metric": {"id": metric, "version": "1"}, "extractor": {"id": extractor}}
        prints[digest(fields)] = fields
        value, stderr = float(own.mean()), float(own.std(ddof=1) / np.sqrt(n))
        estimates.append(
            EstimateRecord(
                metric=metric,
                extractor=extractor,
                value=value,
                stderr=stderr,
                interval=(value - 1.96 * stderr, value + 1.96 * stderr),
                level=0.95,
                n=n,
                m=None,
                method="influence",
                fingerprint=digest(fields),
            )
        )
        table[f"influence.{metric}@{extractor}"] = (own - value).astype(np.float32)
    kind = model.name if model.name in ("real", "noise") else "generator"
    name = model.name
    document = ResultDocument(
        benchgen_version="0.1.0",
        row=kind,  # type: ignore[arg-type]
        source=SourceRecord(
            name=name,
            kind="generator",
            id=f"acme/{name}",
            version="1.0",
            fingerprint=digest(name),
            seed=0 if kind == "generator" else None,
            index_pure=True if kind == "generator" else None,
            model_parameters=1_000_000,
            **stated,  # type: ignore[arg-type]
        ),
        reference=_REFERENCE,
        n=n,
        estimates=estimates,
        fingerprints=prints,
        columns=f"columns/{name}.parquet",
        exhibits=Exhibits(sample=[_picture(directory, name, place) for place in range(pictures)]),
        execution=Execution(
            started="2026-01-01T10:00:00Z",
            finished="2026-01-01T10:01:00Z",
            device="cpu",
            images_made=n,
            source_seconds=4.0 + 0.1 * (len(name) % 7) + model.quality % 3,
            extract_seconds=2.0,
            metric_seconds=1.0,
            peak_rss_bytes=734_003_200,
            environment={"python": "3.12.1"},
        ),
    )
    buffer = io.BytesIO()
    pd.DataFrame(table).to_parquet(buffer, index=False)
    place = directory / "columns" / f"{name}.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(buffer.getvalue())
    _write(directory / "results" / f"{name}.json", document.model_dump_json())


def _picture(directory: Path, name: str, place: int) -> Exhibit:
    file = Path("images") / name / f"{place}.png"
    (directory / file).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(place).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(directory / file)
    return Exhibit(index=place, name=str(place), file=str(file))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
