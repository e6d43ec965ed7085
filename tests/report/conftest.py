"""A small run, built through the document models, as the engine would leave it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchgen.hashing import digest
from benchgen.runs.comparison import Comparison
from benchgen.runs.documents import (
    ClassShares,
    EstimateRecord,
    ExcludedRecord,
    Execution,
    Exhibit,
    Exhibits,
    MetricRecord,
    PluginRecord,
    ResultDocument,
    RunDocument,
    SourceRecord,
)

METRICS = {
    record.id: record
    for record in (
        MetricRecord(
            id="fid",
            title="FID",
            direction="lower",
            unit="squared feature units",
            scale=1.0,
            depends_on_n=True,
            population=False,
            reads="Distance between Gaussians fitted to the features; falls when mean and spread "
            "match. It mixes fidelity with diversity, and is too high when images are few.",
        ),
        MetricRecord(
            id="fid-corrected",
            title="FID corrected",
            direction="lower",
            unit="squared feature units",
            scale=1.0,
            depends_on_n=False,
            population=True,
            reads="FID with its small-sample bias removed.",
        ),
        MetricRecord(
            id="kid",
            title="KID",
            direction="lower",
            unit="",
            scale=1000.0,
            depends_on_n=False,
            population=True,
            reads="Squared kernel distance between feature distributions; slightly negative "
            "values are correct near equality.",
        ),
        MetricRecord(
            id="is",
            title="IS",
            direction="higher",
            unit="",
            scale=1.0,
            depends_on_n=True,
            population=False,
            reads="Rises when each image shows one class clearly and the classes are evenly "
            "used. It never looks at the reference, so a generator can beat real images.",
        ),
        *(
            MetricRecord(
                id=name,
                title=name.capitalize(),
                direction="higher",
                unit="share",
                scale=1.0,
                depends_on_n=True,
                population=False,
                reads=reads,
            )
            for name, reads in (
                ("precision", "Share of images that look like some reference image: fidelity."),
                ("recall", "Share of reference images that look like some image: diversity."),
                ("density", "How densely reference neighbourhoods are filled: fidelity."),
                ("coverage", "Share of reference neighbourhoods that are reached: diversity."),
            )
        ),
    )
}

SCORES: dict[str, dict[str, tuple[float | None, float | None]]] = {
    "vae": {
        "fid": (21.37, 0.41),
        "fid-corrected": (20.94, 0.42),
        "kid": (0.01193, 0.00052),
        "is": (7.912, 0.052),
        "precision": (0.871, 0.011),
        "recall": (0.612, 0.019),
        "density": (1.083, 0.021),
        "coverage": (0.702, 0.014),
    },
    "gan": {
        "fid": (12.84, 0.33),
        "fid-corrected": (12.35, 0.34),
        "kid": (0.00612, 0.00041),
        "is": (7.731, 0.061),
        "precision": (0.793, 0.013),
        "recall": (0.781, 0.016),
        "density": (0.842, 0.018),
        "coverage": (0.803, 0.012),
    },
    "real": {
        "fid": (1.02, 0.06),
        "fid-corrected": (0.04, 0.07),
        "kid": (-0.00003, 0.00006),
        "is": (8.934, 0.049),
        "precision": (0.861, 0.011),
        "recall": (0.859, 0.011),
        "density": (0.994, 0.017),
        "coverage": (0.951, 0.006),
    },
    "noise": {
        "fid": (412.6, 0.9),
        "fid-corrected": (412.1, 0.9),
        "kid": (0.7412, 0.0031),
        "is": (1.083, 0.004),
        "precision": (0.0, 0.0),
        "recall": (0.0, 0.0),
        "density": (0.0, 0.0),
        "coverage": (0.0, 0.0),
    },
}

Pictures = Callable[[str, int], list[np.ndarray]]


def build_run(
    directory: Path,
    *,
    scores: Mapping[str, Mapping[str, tuple[float | None, float | None]]] = SCORES,
    n: Mapping[str, int] | None = None,
    errors: Mapping[str, str] | None = None,
    classes: bool = True,
    pictures: Pictures | None = None,
    shown: int = 12,
    suite: str = "digits-quick",
    warnings: Mapping[str, list[str]] | None = None,
) -> Path:
    """Write a run directory whose influences have the variance that the errors claim."""
    draw = pictures or _patterns
    rows = list(scores)
    metrics = list(dict.fromkeys(metric for row in scores.values() for metric in row))
    run = RunDocument(
        benchgen_version="0.1.0",
        suite={"name": suite, "n": 200},
        suite_hash=digest(suite),
        command=f"benchgen run {suite}.toml --out runs/{suite}",
        status="complete",
        rows=rows,
        reference=_reference(),
        reference_classes=[_shares("reference", 200), _COLOURS] if classes else [],
        reference_sample=_exhibits(directory, "reference", draw("reference", shown)),
        metrics=[METRICS[metric] for metric in metrics],
        plugins=[
            PluginRecord(
                plugin="reference-models",
                version="0.1.0",
                state="active",
                offers=["reference-models/vae", "reference-models/gan"],
            ),
            PluginRecord(
                plugin="acme", version="2.0", state="broken", reason="ImportError: no jax"
            ),
        ],
    )
    _write(directory / "run.json", run.model_dump_json(indent=1))
    for place, row in enumerate(rows):
        result = _result(
            directory,
            row,
            scores[row],
            (n or {}).get(row, 200),
            (errors or {}).get(row),
            classes,
            draw,
            shown,
            place,
            (warnings or {}).get(row, []),
        )
        _write(directory / "results" / f"{row}.json", result.model_dump_json(indent=1))
    return directory


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Build a run directory; keywords as of `build_run`."""

    def make(name: str = "run", **options: Any) -> Path:
        return build_run(tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """vae, gan, real and noise on eight metrics, all defined."""
    return Comparison.of([build_run(tmp_path_factory.mktemp("report") / "run")])


def _result(
    directory: Path,
    row: str,
    scores: Mapping[str, tuple[float | None, float | None]],
    n: int,
    error: str | None,
    classes: bool,
    draw: Pictures,
    shown: int,
    place: int,
    warnings: list[str],
) -> ResultDocument:
    kind: Any = row if row in ("real", "noise") else "generator"
    estimates, fingerprints, columns = [], {}, {"index": np.arange(n)}
    random = np.random.default_rng(place)
    for metric, (value, stderr) in scores.items():
        fields = {
            "metric": {"id": metric, "version": "1"},
            "reference": "ab12",
            "d": 64,
            "extractor": {"id": "benchgen/digits", "resize": "none"},
        }
        if METRICS[metric].depends_on_n:
            fields["n"] = n
        key = digest(fields)
        fingerprints[key] = fields
        estimates.append(_estimate(metric, value, stderr, n, key))
        if stderr is not None:
            spread = random.normal(size=n)
            spread = (spread - spread.mean()) / spread.std(ddof=1)
            columns[f"influence.{metric}@digits"] = spread * stderr * math.sqrt(n)
    path = directory / "columns" / f"{row}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)
    images = _exhibits(directory, row, draw(row, shown))
    ranked = [
        exhibit.model_copy(update={"influence": 40.0 - 7 * i}) for i, exhibit in enumerate(images)
    ]
    return ResultDocument(
        benchgen_version="0.1.0",
        row=kind,
        source=SourceRecord(
            name=row,
            kind="generator",
            id=f"reference-models/{row}",
            version="1",
            fingerprint=digest(row),
            seed=1 if kind == "generator" else None,
            index_pure=True if kind == "generator" else None,
        ),
        reference=_reference(),
        n=n,
        estimates=estimates,
        fingerprints=fingerprints,
        class_shares=[_shares(row, n), *_seen_colours(row, n)] if classes else [],
        excluded=[ExcludedRecord(index=7, name="bad.png", reason="truncated")] * (row == "gan"),
        warnings=warnings,
        error=error,
        columns=f"columns/{row}.parquet",
        exhibits=Exhibits(
            sample=images,
            offender_metric="fid@digits" if "fid" in scores else None,
            raising=ranked[:6] if "fid" in scores else [],
            lowering=ranked[:-7:-1] if "fid" in scores else [],
        ),
        execution=Execution(
            started="2026-01-01T10:00:00Z",
            finished="2026-01-01T10:00:09Z",
            device="cpu",
            images_made=0 if row == "real" else n,
            source_seconds=0.8 + place,
            extract_seconds=2.4,
            metric_seconds=1.1,
            peak_rss_bytes=734_003_200,
            environment={"python": "3.12.1", "torch": "2.9.0", "platform": "linux"},
        ),
    )


def _estimate(
    metric: str, value: float | None, stderr: float | None, n: int, key: str
) -> EstimateRecord:
    defined = value is not None and stderr is not None
    return EstimateRecord(
        metric=metric,
        extractor="digits",
        value=value,
        stderr=stderr,
        interval=(value - 1.96 * stderr, value + 1.96 * stderr) if defined else None,
        level=0.95,
        n=n,
        m=None if metric == "is" else 200,
        method="influence",
        details={"expected_ceiling": 0.969} if metric == "coverage" else {},
        notes=["few images for d = 64: the error is conservative"] if metric == "fid" else [],
        reason=None if value is not None else "undefined: n is 200 and must exceed d = 2048",
        fingerprint=key,
    )


def _reference() -> SourceRecord:
    return SourceRecord(
        name="mnist", kind="reference", id="benchgen/mnist-5k", fingerprint=digest("mnist")
    )


def _shares(row: str, n: int) -> ClassShares:
    weights = np.ones(10)
    if row in ("vae", "gan"):
        weights += np.random.default_rng(len(row) + ord(row[0])).uniform(-0.5, 0.5, 10)
    if row == "noise":
        weights = np.array([0.01, 0.01, 0.1, 0.05, 0.01, 0.3, 0.01, 0.01, 2.0, 0.01])
    counts = np.floor(n * weights / weights.sum()).astype(int)
    counts[0] += n - counts.sum()
    return ClassShares(
        reader="digits",
        attribute="class",
        classes=[str(i) for i in range(10)],
        counts=counts.tolist(),
    )


_COLOURS = ClassShares(
    reader="palette", attribute="colour", classes=["blue", "red"], counts=[120, 80]
)


def _seen_colours(row: str, n: int) -> list[ClassShares]:
    """What one row has of an attribute: a value less, and one more, than the reference."""
    names = {"classes": ["pink", "red"], "counts": [n // 4, n - n // 4]}
    return [_COLOURS.model_copy(update=names)] if row == "gan" else []


def _exhibits(directory: Path, row: str, images: list[np.ndarray]) -> list[Exhibit]:
    found = []
    for index, image in enumerate(images):
        file = Path("exhibits") / row.replace("/", "_") / f"{index}.png"
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(directory / file)
        found.append(Exhibit(index=index, name=str(index), file=str(file), label=str(index % 10)))
    return found


def _patterns(row: str, count: int) -> list[np.ndarray]:
    random = np.random.default_rng(len(row))
    return [random.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(count)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    json.loads(text)
    path.write_text(text, encoding="utf-8")
