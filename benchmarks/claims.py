"""What a benchmark claims, what it measured, and what came of the claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

Values = Mapping[str, float]
Work = Callable[[], Values]

_MEMORY = {"above": "MiB above the features", "total": "MiB in all"}


@dataclass(frozen=True)
class Contestant:
    """One way to compute something.

    Attributes:
        name: The distribution that must be installed and, after a comma, which way of several.
        load: Turns the script's inputs into what the tool takes; returns the computation to
            measure.
        relative: Largest relative difference from the values of ``same_as``; None where it
            computes something else.
        absolute: A difference of so much more is allowed.
        images: So many images more may fall on the other side (for shares of images).
        same_as: Whose values its own are held against; the first contestant's, where None. Only
            values of the same name are. A value ``sampling_error`` widens the tolerance to five
            times itself.
    """

    name: str
    load: Callable[[Any], Work]
    relative: float | None = None
    absolute: float = 0.0
    images: int = 0
    same_as: str | None = None


@dataclass(frozen=True)
class Bound:
    """What is claimed of the first contestant.

    Attributes:
        kind: ``"ratio"``: ``peer`` takes at least ``limit`` times as long. ``"cost"``: ``peer``
            takes at most ``limit`` times as long. ``"value"``: its value ``value`` is at least
            ``limit``. ``"seconds"``: it takes at most so many. ``"above"``: its peak is at most so
            many MiB above what was resident before. ``"total"``: its process takes at most so
            many MiB.
    """

    kind: Literal["ratio", "cost", "value", "seconds", "above", "total"]
    limit: float
    peer: str | None = None
    value: str = ""

    @property
    def promise(self) -> str:
        return {
            "ratio": f"at least {self.limit:g}x {self.peer}",
            "cost": f"{self.peer} takes at most {self.limit:g}x the time",
            "value": f"{self.value} at least {self.limit:g}",
            "seconds": f"at most {self.limit:g} s",
            **{kind: f"at most {self.limit:g} {unit}" for kind, unit in _MEMORY.items()},
        }[self.kind]


@dataclass(frozen=True)
class Claim:
    """Contestants for one computation, benchgen first, and what must hold.

    With ``twice`` a process computes it two times and reports the second: first calls of LAPACK's
    large routines cost up to a second, whoever makes them. ``environment`` is added to that of
    every process. ``memory`` is what the table tells of it.
    """

    key: str
    title: str
    contestants: Sequence[Contestant]
    bounds: Sequence[Bound] = ()
    twice: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: Literal["above", "total"] = "above"


@dataclass(frozen=True)
class Measurement:
    """One run of one contestant: seconds, MiB resident before and at the peak, and values."""

    seconds: float
    before: float
    peak: float
    values: Values


@dataclass
class Results:
    """Of one contestant.

    Attributes:
        rounds: A measurement for each round.
        failure: Why there are no more of them.
        apart: Largest relative difference from the values it must agree with, and the allowed one.
    """

    rounds: list[Measurement] = field(default_factory=list)
    failure: str | None = None
    apart: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.rounds)

    @property
    def above(self) -> float:
        return median(run.peak - run.before for run in self.rounds)

    @property
    def total(self) -> float:
        return median(run.peak for run in self.rounds)

    def value(self, name: str) -> float:
        return median(run.values[name] for run in self.rounds)

    def document(self) -> dict[str, Any]:
        """Medians, where there are any, and all that they were made of."""
        names = ("seconds", "above", "total") if self.rounds else ()
        return {name: getattr(self, name) for name in names} | asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Results:
        """What :meth:`document` told."""
        rounds = [Measurement(**each) for each in document["rounds"]]
        apart = document["apart"]
        return cls(rounds, document["failure"], None if apart is None else tuple(apart))


@dataclass(frozen=True)
class Verdict:
    """What came of a bound or of an agreement; ``holds`` is None where it could not be tested."""

    text: str
    holds: bool | None


def compare(claim: Claim, found: Mapping[str, Results], n: int) -> None:
    """Set ``apart`` of every contestant whose values must be those of another."""
    for one in claim.contestants:
        other = found[one.same_as or claim.contestants[0].name]
        if one.relative is not None and other.rounds:
            values = [run.values for run in found[one.name].rounds]
            found[one.name].apart = apart(one, values, other.rounds[0].values, n)


def apart(
    one: Contestant, rounds: Sequence[Values], expected: Values, n: int
) -> tuple[float, float] | None:
    """The worst relative difference of a contestant's values, and what is allowed of it."""
    pairs = []
    for values in rounds:
        slack = one.absolute + one.images / n + 5 * values.get("sampling_error", 0.0)
        for name in values.keys() & expected.keys():
            size = max(abs(expected[name]), 1e-300)
            difference = abs(values[name] - expected[name]) / size
            pairs.append((difference, (one.relative or 0.0) + slack / size))
    return max(pairs, key=lambda pair: pair[0] / pair[1], default=None)


def judge(claim: Claim, found: Mapping[str, Results]) -> list[Verdict]:
    """A verdict for each bound, each failure of benchgen, and each disagreement."""
    told = [verdict(bound, found[claim.contestants[0].name], found) for bound in claim.bounds]
    for name, results in found.items():
        if results.failure is not None and name.split(",")[0] == "benchgen":
            told.append(Verdict(f"{name} FAILED: {results.failure}", holds=False))
        if results.apart is not None and not results.apart[0] <= results.apart[1]:
            told.append(Verdict(f"{name} DISAGREES: {_agreement(results)}", holds=False))
    return told


def verdict(bound: Bound, ours: Results, found: Mapping[str, Results]) -> Verdict:
    """What came of a bound on the contestant whose results are ``ours``."""
    claim = f"claim: {bound.promise}"
    if not ours.rounds:
        return Verdict(f"{claim}: does NOT hold ({ours.failure})", holds=False)
    if bound.peer is not None:
        peer = found[bound.peer]
        if not peer.rounds:
            return Verdict(f"{claim}: not tested ({peer.failure})", holds=None)
        value, reached = peer.seconds / ours.seconds, _ratio(peer, ours)
    elif bound.kind == "value":
        value = ours.value(bound.value)
        reached = f"{value:.3g}"
    else:
        value = float(getattr(ours, bound.kind))
        reached = f"{value:.4g} {'s' if bound.kind == 'seconds' else 'MiB'}"
    holds = value >= bound.limit if bound.kind in ("ratio", "value") else value <= bound.limit
    return Verdict(f"{claim}: {reached}: {'holds' if holds else 'does NOT hold'}", holds)


def section(claim: Claim, found: Mapping[str, Results], verdicts: Sequence[Verdict]) -> str:
    """Heading, table and verdicts of a claim, as Markdown."""
    ours = found[claim.contestants[0].name]
    lines = [
        f"## {claim.title}",
        "",
        f"| | seconds | ratio | {_MEMORY[claim.memory]} | values | relative difference |",
        "|---|---:|---:|---:|---|---|",
    ]
    for name, results in found.items():
        cells = [name, "", "", "", results.failure or "", _agreement(results)]
        if results.rounds:
            values = ", ".join(f"{k} {v:.7g}" for k, v in results.rounds[0].values.items())
            ratio = "1" if results is ours else _ratio(results, ours) if ours.rounds else ""
            cells[1:4] = f"{results.seconds:.3g}", ratio, f"{getattr(results, claim.memory):.0f}"
            cells[4] = f"{values}; {results.failure}" if results.failure else values
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {each.text}" for each in verdicts)])


def _ratio(peer: Results, ours: Results) -> str:
    """Ratio of the medians, and the least and greatest of a round."""
    each = [p.seconds / o.seconds for p, o in zip(peer.rounds, ours.rounds, strict=False)]
    return f"{peer.seconds / ours.seconds:.3g}x ({min(each):.3g}-{max(each):.3g})"


def _agreement(results: Results) -> str:
    return "{:.1e} (allowed {:.1e})".format(*results.apart) if results.apart else ""
