"""A published mean and covariance in the place of reference images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchgen.errors import SuiteError
from benchgen.images.moments import load_moments
from benchgen.metrics.frechet import KnownMoments
from benchgen.runs.chosen import Metric, Reader
from benchgen.runs.documents import SourceRecord
from benchgen.suite import Images, ReferenceChoice

MOMENTS = "moments:"


def open_moments(choice: ReferenceChoice) -> tuple[KnownMoments, SourceRecord]:
    """Load the file that ``moments:FILE.npz`` names.

    Raises:
        SuiteError: If nothing is there, or a field does not apply.
        ImageError: If it does not hold moments.
    """
    path = Path(choice.source.removeprefix(MOMENTS)).expanduser()
    if not path.is_file():
        raise SuiteError(
            f"reference: there is nothing at {path}; expected an .npz file that holds mu and sigma"
        )
    for name in ("params", "table", "column"):
        if getattr(choice, name):
            raise SuiteError(f"reference.{name}: {choice.source} is no images and takes no {name}")
    if choice.background != Images.model_fields["background"].default and choice.real is None:
        raise SuiteError(f"reference.background: {choice.source} is no images and takes none")
    loaded = load_moments(path)
    record = SourceRecord(
        name=path.name,
        kind="moments",
        id=choice.source,
        fingerprint=loaded.sha256,
        description=f"mean and covariance of {len(loaded.mean)} features; their images are unknown",
    )
    return KnownMoments(loaded.mean, loaded.covariance), record


def require_moments_suffice(
    name: str, moments: KnownMoments, metrics: Sequence[Metric], extractors: Sequence[Reader]
) -> None:
    """Refuse what cannot be computed from a mean and a covariance.

    Raises:
        SuiteError: If a metric needs more, naming it and why; or if an extractor's rows have
            another width, naming both.
    """
    for metric in metrics:
        known: tuple[str, ...] = getattr(metric.family, "from_moments", ())
        if metric.spec.name in known:
            continue
        if known:
            reason = "it corrects for the number of reference images, which the file does not tell"
        else:
            reason = "a mean and a covariance serve the Fréchet distance alone"
        raise SuiteError(
            f"metrics: {metric.label} cannot be computed against {name}: {reason}. Say "
            '--metric fid (in the suite: metrics = ["fid"]), or give reference images'
        )
    for reader in extractors:
        if reader.read.d != moments.d:
            raise SuiteError(
                f"reference: {name} has moments of {moments.d} features, and the extractor "
                f"{reader.label} gives {reader.read.d}; use the extractor that they were made with"
            )
