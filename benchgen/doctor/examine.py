"""The self-test itself: real images, planted defects, every metric, verdicts."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from benchgen.doctor import words
from benchgen.doctor.battery import Battery, Examined, chosen_metrics, run_battery
from benchgen.doctor.defects import chosen_defects
from benchgen.doctor.documents import (
    DefectRecord,
    DoctorDocument,
    FindingRecord,
    MetricFindings,
    ResponseRecord,
)
from benchgen.doctor.parts import divide, open_pool
from benchgen.doctor.sets import Planted, make_sets
from benchgen.doctor.verdicts import ALPHA, Finding, Judged, judge
from benchgen.errors import UnknownIdError
from benchgen.host.loader import host
from benchgen.runs.chosen import load_readers
from benchgen.runs.environment import environment, resolve_device
from benchgen.runs.passes import Observer
from benchgen.suite import Chosen
from benchgen.version import __version__

DEFAULT_REFERENCE = "digits"
DEFAULT_EXTRACTOR = "inception"


@dataclass(frozen=True)
class Examination:
    """What a self-test found; ``example`` is a real image, uint8 ``[3, H, W]``."""

    document: DoctorDocument
    example: Tensor

    def sees(self, metric: str) -> str:
        """What a metric (an id, or a bare name) sees, is blind to and is fooled by, in a line.

        Raises:
            UnknownIdError: If the metric was not examined.
        """
        for found in self.document.metrics:
            if metric in (found.id, found.name):
                return words.sees(found, self.document.defects)
        raise UnknownIdError("metric", metric, [found.id for found in self.document.metrics])


def examine(
    reference: str = DEFAULT_REFERENCE,
    extractor: str | None = None,
    n: int | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    *,
    defects: Sequence[str] | None = None,
    device: str = "auto",
    batch_size: int = 125,
    trust_code: bool = False,
) -> Examination:
    """Plant defects in real images and ask of every metric if it responds, and from where on.

    The real images are split into a reference, a training set and a set that plays a perfect
    generator, in which defects are planted. A change is the metric's value on that set with the
    defect less the one without, compared image by image.

    Args:
        reference: Real images: a reference's id, a folder, or a ``.npy`` or ``.npz`` file.
        extractor: An extractor's id; ``digits`` for the embedded digits, else ``inception``.
        n: Images of each part; by default 1,000, or fewer where there are fewer than 4,000.
        metrics: Metric ids; all by default.
        seed: Of all drawing.
        observer: Hears how it goes on.
        defects: Defect ids; all by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images per call of the extractor.
        trust_code: Whether ``module:callable`` and ``torchscript:PATH`` may run code.

    Raises:
        UnknownIdError, UsageError: If something is asked for that is not there.
        ImageError: If there are too few images, or one cannot be read.
        PluginError, WeightsError: If the extractor cannot be used.
    """
    plugins, watching = host(), observer or _Silent()
    planted = chosen_defects(defects)
    wanted = chosen_metrics(plugins, metrics)
    pool = open_pool(plugins, reference, trust_code)
    parts = divide(pool, n, seed)
    if extractor is None:
        extractor = "digits" if pool.record.id == "benchgen/digits" else DEFAULT_EXTRACTOR
    (reader,) = load_readers(
        plugins,
        "extractor",
        [Chosen(id=extractor)],
        resolve_device(device),
        trust_code=trust_code,
    )
    started = time.perf_counter()
    sets = make_sets(pool, parts, planted, reader, batch_size, watching)
    extracted = time.perf_counter()
    battery = run_battery(wanted, sets, reader, watching)
    finished = time.perf_counter()
    records = [_defect(one) for one in sets.planted]
    findings = [_metric(one, battery) for one in battery.examined]
    document = DoctorDocument(
        benchgen_version=__version__,
        command=_command(reference, extractor, parts.n, metrics, seed, defects),
        reference=pool.record,
        images=pool.size,
        n=parts.n,
        reserve=len(parts.reserve),
        seed=seed,
        extractor=reader.label,
        extractor_fields=reader.fields,
        alpha=ALPHA,
        defects=records,
        metrics=findings,
        not_run=dict(battery.not_run),
        conclusions=words.conclusions(findings, records),
        extract_seconds=extracted - started,
        metric_seconds=finished - extracted,
        environment=environment(),
    )
    return Examination(document, sets.example)


class _Silent:
    def begin(self, row: str, total: int, done: int) -> None: ...
    def advance(self, row: str, images: int) -> None: ...
    def end(self, row: str) -> None: ...
    def message(self, text: str) -> None: ...


def _defect(planted: Planted) -> DefectRecord:
    defect = planted.defect
    return DefectRecord(
        id=defect.id,
        name=defect.name,
        heading=defect.heading,
        kind=defect.kind,
        unit=defect.unit,
        strengths=list(planted.sets),
        sentence=defect.sentence,
        not_run={f"{s:g}": why for s, why in planted.sets.items() if isinstance(why, str)},
    )


def _metric(examined: Examined, battery: Battery) -> MetricFindings:
    spec, base = examined.spec, examined.base
    assert base.value is not None
    findings = judge(spec.direction, examined.responses)
    return MetricFindings(
        id=examined.registered.id,
        name=spec.name,
        title=spec.title,
        version=spec.version,
        direction=spec.direction,
        unit=spec.unit,
        scale=spec.scale,
        value=base.value,
        stderr=base.stderr,
        notes=list(base.notes),
        reason=base.reason,
        findings=[_finding(defect, found) for defect, found in findings.items()],
        seconds=battery.seconds[examined.registered.id],
    )


def _finding(defect: str, found: Finding) -> FindingRecord:
    return FindingRecord(
        defect=defect,
        verdict=found.verdict,
        seen_from=found.seen_from,
        better_at=list(found.better_at),
        monotone=found.monotone,
        responses=[_response(one) for one in found.judged],
    )


def _response(judged: Judged) -> ResponseRecord:
    response, change = judged.response, judged.response.change
    return ResponseRecord(
        strength=response.strength,
        value=response.value,
        stderr=response.stderr,
        change=None if change is None else change.value,
        change_stderr=None if change is None else change.stderr,
        p=None if change is None else change.p,
        p_adjusted=judged.p,
        move=judged.move,
        harm=judged.harm,
        reason=response.reason,
    )


def _command(
    reference: str,
    extractor: str,
    n: int,
    metrics: Sequence[str] | None,
    seed: int,
    defects: Sequence[str] | None,
) -> str:
    parts = ["benchgen", "doctor", "-r", reference, "-e", extractor, "-n", str(n)]
    parts += ["--seed", str(seed)]
    for flag, values in (("-m", metrics), ("-d", defects)):
        parts += [part for value in values or () for part in (flag, value)]
    return shlex.join(parts)
