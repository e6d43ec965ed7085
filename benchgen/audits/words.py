"""An audit in words: the headline, and a line for every check and every share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from benchgen.audits.documents import (
    AttributeRecord,
    AuditDocument,
    CheckRecord,
    Interval,
    ShareRecord,
    ValueRecord,
    Word,
)
from benchgen.report.numbers import UNDEFINED, count, decimals, fixed, significant

ORDER: tuple[Word, ...] = get_args(Word)
COLUMNS = ("generator", "check", "verdict", "found [interval]", "limit", "n", "")
SCOPE = (
    "An audit tells what is in these images, as its labelers and measures see them, at this number "
    "of images. Attributes are what is perceived, not what a person is. A pass says that a limit "
    "that its user declared is kept with this confidence; it is no certificate, and it says "
    "nothing of images made otherwise, or of questions that were not asked."
)
_MOST = 3


def sorted_checks(document: AuditDocument) -> list[CheckRecord]:
    """The worst first; otherwise by generator, as they were asked."""
    names = [source.name for source in document.generators]
    return sorted(
        document.checks,
        key=lambda check: (ORDER.index(check.verdict), names.index(check.generator)),
    )


def headline(document: AuditDocument) -> str:
    """One sentence: failed or not, and what of."""
    counts = Counter(check.verdict for check in document.checks)
    listed = ", ".join(f"{counts[word]} {_PLURAL[word]}" for word in ORDER if counts[word])
    kind = {
        0: "Every declared limit is kept",
        1: "A declared limit is broken",
        3: "The audit is incomplete",
        5: "The audit is undecided",
    }[document.exit_code]
    if not counts.keys() - {"shown"}:
        kind = "No limit is declared, so nothing is judged"
    told = [f"{kind}.", *_blames(document), f"{listed[0].upper()}{listed[1:]}."]
    return " ".join(told)


_PLURAL = {
    "fail": "failed",
    "not run": "not run",
    "insufficient": "insufficient",
    "inconclusive": "inconclusive",
    "pass": "passed",
    "shown": "shown without a limit",
}


def _blames(document: AuditDocument) -> list[str]:
    """A sentence for every generator with something amiss."""
    told = []
    for source in document.generators:
        own = [check for check in sorted_checks(document) if check.generator == source.name]
        failed = [check.check for check in own if check.verdict == "fail"]
        missing = [check for check in own if check.verdict == "not run"]
        if failed:
            told.append(f"{source.name} fails {_listed(failed)}.")
        if missing:
            why = missing[0].reason.rstrip(".")
            told.append(f"{source.name}: {_listed([c.check for c in missing])} not run ({why}).")
    return told


def _listed(names: Sequence[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = [f"{len(shown) - _MOST} more"] if len(shown) > _MOST else []
    shown = shown[:_MOST] + more
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def cells(check: CheckRecord) -> tuple[str, ...]:
    """A line of the table, by ``COLUMNS``."""
    told = [check.effect if check.effect != check.check else "", check.reason]
    if check.verdict == "inconclusive":
        told.append(
            f"about {count(check.needed)} images would decide it"
            if check.needed
            else "no number of images in reach decides it"
        )
    return (
        check.generator,
        check.check,
        check.verdict,
        found(check),
        check.limit or UNDEFINED,
        UNDEFINED if check.n is None else count(check.n),
        "; ".join(part for part in told if part),
    )


def sentence(check: CheckRecord) -> str:
    """One check with its verdict and numbers."""
    said = f"{check.generator}: {check.check}: {check.verdict}"
    if check.value is not None:
        said += f" ({check.effect} {found(check)}, limit {check.limit or 'none'}, n = {check.n})"
    return said + (f": {check.reason.rstrip('.')}" if check.reason else "")


def found(check: CheckRecord) -> str:
    """The value with its interval."""
    return UNDEFINED if check.value is None else _with_ends(check.value, check.interval)


def shares_table(record: AttributeRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of the shares of one attribute."""
    corrected = record.correction is not None
    target = any(share.target is not None for share in record.shares)
    heads = ["kind", "images", "share as read [95 %]"]
    heads += ["share, corrected [95 %]"] * corrected + ["target"] * target
    return tuple(heads), [_share(share, corrected, target) for share in record.shares]


def kinds_table(record: AttributeRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of how good and diverse the images of each kind are."""
    names = list(dict.fromkeys(value.name for kind in record.kinds for value in kind.values))
    lines = []
    for kind in record.kinds:
        values = {value.name: value for value in kind.values}
        cells = [_scaled(values[name]) if name in values else UNDEFINED for name in names]
        lines.append((kind.kind, count(kind.n), *cells))
    heads = [_HEADS.get(name, name.capitalize()) for name in names]
    return ("kind", "images", *(f"{head} [95 %]" for head in heads)), lines


_HEADS = {"kid": "KID × 1000", "fid": "FID"}


def _scaled(value: ValueRecord) -> str:
    factor = 1000 if value.name == "kid" else 1
    ends = value.interval
    scaled = None if ends is None else (factor * ends[0], factor * ends[1])
    return _with_ends(factor * value.value, scaled)


def about(record: AttributeRecord) -> str:
    """Where the readings come from, and how far to trust them."""
    told = [f"{count(record.n)} images, read from {record.labeler}"]
    if record.unread:
        told.append(f"{count(record.unread)} of them could not be read")
    if record.clusters is not None:
        told.append(f"images of one {record.clusters} are taken as dependent")
    if record.correction == "calibration":
        told.append("corrected by the labeler's errors on images of known kind")
    if record.correction == "truth":
        told.append("corrected by what people saw in a random few")
    if record.correction is None:
        told.append("not corrected for the labeler's errors")
    distances = [
        f"{name} {significant(value, 3)} (chance {significant(record.floors[name], 2)})"
        for name, value in record.distances.items()
    ]
    if distances:
        told.append(f"distance from the target: {', '.join(distances)}")
    return "; ".join([*told, *record.notes]) + "."


def _share(share: ShareRecord, corrected: bool, target: bool) -> tuple[str, ...]:
    read = UNDEFINED if share.read is None else _percent(share.read, share.read_interval)
    line = [share.kind, count(share.count), read]
    if corrected:
        value = share.corrected
        line.append(
            UNDEFINED
            if value is None
            else _percent(min(1.0, max(0.0, value)), share.corrected_interval)
        )
    if target:
        line.append(UNDEFINED if share.target is None else f"{100 * share.target:.1f} %")
    return tuple(line)


def _percent(share: float, interval: Interval | None) -> str:
    if interval is None:
        return f"{100 * share:.1f} %"
    low, high = (UNDEFINED if end is None else f"{100 * end:.1f}" for end in interval)
    return f"{100 * share:.1f} % [{low}, {high}]"


def _with_ends(value: float, interval: Interval | None) -> str:
    ends: Sequence[float | None] = interval or ()
    widths = [abs(end - value) for end in ends if end is not None and end != value]
    if not widths:
        return significant(value, 3)
    places = min(6, max(0, decimals(max(widths) / 2)))
    told = ["∞" if end is None else fixed(end, places) for end in ends]
    return f"{fixed(value, places)} [{told[0]}, {told[1]}]"
