"""From baselines and what is made now to verdicts, at as many looks as it takes.

Each question has three one-sided tests, each over all looks by spending its error: that the harm
is within the margin (rejected: degraded), that it is beyond (rejected: unchanged), and that it is
less than an improvement by the margin (rejected: improved). "Degraded" is adjusted over all
questions of a gate (Holm 1979); a gate is green only where all questions are, so "unchanged" needs
no adjustment (Berger 1982). A question that is settled is asked no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from benchgen.asked import GateChoice
from benchgen.gate.baseline import named, snapped
from benchgen.gate.documents import CheckRecord, Word
from benchgen.gate.question import Question, Test
from benchgen.gate.snapshot import Classes, Key, Snapshot, gated_difference, pairable
from benchgen.metrics.base import Score
from benchgen.runs.documents import MetricRecord
from benchgen.runs.fingerprint import differing_fields
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.limits import p_at_least, p_at_most
from benchgen.stats.multiplicity import holm
from benchgen.stats.paired import Difference, difference
from benchgen.stats.sequential import Looks

_FOR_BOUNDS = 0.1
"""Share of alpha that is kept for scores that are too good to be true."""
_POWER = 0.8
_OUT_OF_REACH = 1000


class Accepted(Protocol):
    """What a gate must know of a baseline."""

    @property
    def sizes(self) -> tuple[int, ...]: ...
    def value(self, key: Key) -> float | None: ...
    def snapshot(self, place: int) -> Snapshot: ...


class Judge:
    """The questions of one gate, and what is known of each so far.

    Args:
        asked: The suite's choices.
        metrics: What is gated, by key, with direction and whether it estimates a population.
        baselines: By generator.
    """

    def __init__(
        self,
        asked: GateChoice,
        metrics: Mapping[Key, MetricRecord],
        baselines: Mapping[str, Accepted],
    ) -> None:
        self.asked = asked
        self.metrics = metrics
        self.baselines = baselines
        self._questions: dict[tuple[str, str], Question] = {}
        self._said: list[CheckRecord] = []
        self._refused: set[tuple[str, str]] = set()
        self.changes: dict[tuple[str, str], torch.Tensor] = {}

    def say(
        self,
        generator: str,
        verdict: Word,
        reason: str,
        check: str = "sampling",
    ) -> None:
        """A verdict that no look can change."""
        self._said.append(
            CheckRecord(generator=generator, check=check, verdict=verdict, reason=reason)
        )

    def look(self, name: str, place: int, now: Snapshot) -> None:
        """Compare a generator with its baseline at a look, on every question that is open."""
        baseline = self.baselines[name]
        looks = Looks(baseline.sizes)
        before, now = snapped(baseline.snapshot(place)), snapped(now)
        paired = pairable(before, now)
        for key, metric in self.metrics.items():
            check = named(key)
            if self._is_settled(name, check):
                continue
            one, other = before.estimates.get(key), now.estimates.get(key)
            if one is not None and other is not None and one.value is other.value is None:
                continue  # a likelihood of a model that has none, say
            if (reason := _unlike(before, now, key)) is not None:
                self._refuse(name, check, reason)
                continue
            assert one is not None
            assert other is not None
            question = self._question(name, check, looks)
            question.margin = margin_of(self.asked, metric.id, baseline.value(key))
            question.grows = metric.depends_on_n and metric.direction == "higher"
            self._ask_metric(question, metric, one, other, paired, now.n)
        for reader, was in before.seen.items() if self.asked.class_shares > 0 else ():
            check = f"class shares@{reader}"
            if self._is_settled(name, check):
                continue
            seen = now.seen.get(reader)
            if seen is None:
                self._refuse(name, check, "the suite has no such classifier or measure now")
            elif differing := differing_fields(was.reader, seen.reader):
                self._refuse(name, check, _listed(differing))
            else:
                question = self._question(name, check, looks)
                question.margin = self.asked.class_shares
                shifts = _shifts(was, seen, before, now, paired)
                self._ask_shares(question, was, seen, shifts, now.n)
        self._decide()

    def close(self, name: str) -> None:
        """No more images of this generator: what is open is inconclusive."""
        for (generator, _), question in self._questions.items():
            if generator == name and question.settled is None:
                question.settled = "inconclusive"

    def open(self, name: str) -> bool:
        """Whether a question of this generator is not settled."""
        own = [q for (generator, _), q in self._questions.items() if generator == name]
        return any(question.settled is None for question in own)

    @property
    def records(self) -> list[CheckRecord]:
        """Every question with its verdict, in the order in which they came up."""
        adjusted = self._adjusted()
        found = list(self._said)
        for key, question in self._questions.items():
            if question.shown is None:
                continue
            verdict = question.settled or "inconclusive"
            found.append(
                question.shown.model_copy(
                    update={
                        "verdict": verdict,
                        "p_worse": adjusted[key],
                        "p_within": question.p_within,
                        "needed": self._needed(question) if verdict == "inconclusive" else None,
                        "reason": _reason(question),
                    }
                )
            )
        return found

    def _question(self, name: str, check: str, looks: Looks) -> Question:
        return self._questions.setdefault((name, check), Question(name, check, looks))

    def _is_settled(self, name: str, check: str) -> bool:
        question = self._questions.get((name, check))
        settled = question is not None and question.settled is not None
        return settled or (name, check) in self._refused

    def _refuse(self, name: str, check: str, reason: str) -> None:
        """A question that cannot be asked, at this look or another."""
        self.say(name, "incomparable", reason, check)
        self._refused.add((name, check))

    def _ask_metric(
        self,
        question: Question,
        metric: MetricRecord,
        before: Estimate,
        now: Estimate,
        paired: bool,
        n: int,
    ) -> None:
        lower = metric.direction == "lower"
        first, second = (now, before) if lower else (before, now)
        harm = gated_difference(first, second, paired=paired)
        question.ask("", harm)
        improved = harm.p_at_least(-question.margin)
        question.better = question.better or Test(question.looks)
        question.better.nominal.append(1.0 if improved is None else improved)
        question.same = harm.value == 0 and harm.stderr == 0
        question.error = max(harm.errors or (0.0,))
        bound = self.asked.bounds.get(metric.id, _ceiling(metric, now))
        if bound is not None:
            question.too_good = question.too_good or Test(question.looks)
            question.too_good.nominal.append(_beyond(metric, now, bound))
        if harm.stderr is None:
            question.reason = "its error is unknown: " + "; ".join(harm.notes)
        a, b = now.influence.fake, before.influence.fake
        if paired and a is not None and b is not None:
            self.changes[question.generator, question.check] = (a - b) * (1 if lower else -1)
        question.shown = CheckRecord(
            generator=question.generator,
            check=question.check,
            verdict="inconclusive",
            n=n,
            paired=paired,
            baseline=before.value,
            value=now.value,
            harm=harm.value,
            interval=harm.interval,
            margin=question.margin,
        )

    def _ask_shares(
        self,
        question: Question,
        before: Classes,
        now: Classes,
        found: Mapping[str, Difference],
        n: int,
    ) -> None:
        for name, shift in found.items():
            question.ask(f"{name}: more", shift)
            question.ask(f"{name}: less", _turned(shift))
        most = max(found, key=lambda name: abs(found[name].value or 0.0))
        shift = found[most]
        question.same = all(s.value == 0 and s.stderr == 0 for s in found.values())
        question.error = max(max(s.errors or (0.0,)) for s in found.values())
        harm = abs(shift.value or 0.0)
        less = (shift.value or 0.0) < 0
        told = _turned(shift) if less else shift
        question.reason = f"class {most} {'fell' if less else 'rose'} most" if harm else ""
        question.shown = CheckRecord(
            generator=question.generator,
            check=question.check,
            verdict="inconclusive",
            n=n,
            paired=told.paired,
            baseline=float((before.values == most).mean()),
            value=float((now.values == most).mean()),
            harm=harm,
            interval=told.interval,
            margin=question.margin,
        )

    def _adjusted(self) -> dict[tuple[str, str], float]:
        asked = {key: q for key, q in self._questions.items() if q.worse}
        return dict(zip(asked, holm([q.p_worse for q in asked.values()]), strict=True))

    def _decide(self) -> None:
        alpha = self.asked.alpha
        bounded = [q for q in self._questions.values() if q.too_good is not None]
        for question in bounded:
            assert question.too_good is not None
            if question.too_good.p <= alpha * _FOR_BOUNDS / len(bounded):
                question.settled = "implausible"
        harmful = alpha * (1 - _FOR_BOUNDS) if bounded else alpha
        for key, adjusted in self._adjusted().items():
            question = self._questions[key]
            if question.settled is not None:
                continue
            if adjusted <= harmful:
                question.settled = "degraded"
            elif question.same:
                question.settled = "unchanged"
            elif question.p_within <= alpha:
                better = question.better is not None and question.better.p <= alpha
                # Much better is looked at to the end: it may be too good to be true.
                if not (better and question.too_good is not None and question.goes_on):
                    question.settled = "improved" if better else "unchanged"

    def _needed(self, question: Question) -> int | None:
        """Images for a verdict with power 0.8, if the harm is what it looks like."""
        shown = question.shown
        if shown is None or shown.harm is None or shown.n is None or not question.error:
            return None
        away = abs(shown.harm - question.margin)
        level = self.asked.alpha
        if shown.harm > question.margin:
            level /= max(1, sum(1 for q in self._questions.values() if q.settled != "degraded"))
        if away == 0:
            return None
        drift = Looks(question.looks.sizes).drift(level, _POWER)
        factor = (drift * question.error / away) ** 2
        return None if factor > _OUT_OF_REACH else max(shown.n + 1, int(np.ceil(shown.n * factor)))


def margin_of(asked: GateChoice, metric: str, accepted: float | None) -> float:
    """How much harm is put up with, in the metric's unit: fixed when the baseline is accepted."""
    margin = asked.margins.get(metric, asked.margin)
    if isinstance(margin, str):
        return abs(accepted or 0.0) * float(margin.removesuffix("%")) / 100
    return float(margin)


def gated(
    asked: GateChoice, metrics: Iterable[tuple[Key, MetricRecord]]
) -> dict[Key, MetricRecord]:
    """The metrics that a gate asks about: those with a margin, or all that have a better side."""
    return {
        key: metric
        for key, metric in metrics
        if metric.direction != "none" and (not asked.margins or metric.id in asked.margins)
    }


def _ceiling(metric: MetricRecord, now: Estimate) -> float | None:
    """What images that are like the real ones expect, where none can expect better."""
    if metric.direction == "lower" and metric.population and now.law is not None:
        return 0.0
    if metric.id.partition("[")[0] == "coverage":
        return now.details.get("expected_if_equal")
    return None


def _beyond(metric: MetricRecord, now: Estimate, bound: float) -> float:
    """p-value of a value that expects no better than a bound."""
    is_share = metric.unit == "share"
    if metric.direction == "lower":
        return p_at_least(now, bound, share=is_share)
    return p_at_most(now, bound, share=is_share)


def _unlike(before: Snapshot, now: Snapshot, key: Key) -> str | None:
    """Why a metric of the two cannot be compared."""
    one, other = before.estimates.get(key), now.estimates.get(key)
    if one is None or other is None:
        return "the baseline does not have this metric"
    if one.value is None:
        return f"undefined in the baseline: {one.reason}"
    if other.value is None:
        return f"undefined now: {other.reason}"
    differing = differing_fields(before.fingerprints[key], now.fingerprints[key])
    return _listed(differing) if differing else None


def _listed(differing: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{field} was {a!r}, is {b!r}" for field, (a, b) in differing.items())


def _shifts(
    was: Classes, seen: Classes, before: Snapshot, now: Snapshot, paired: bool
) -> dict[str, Difference]:
    """By class, how much its share has risen."""
    return {
        name: difference(
            _share(seen.values == name, now),
            _share(was.values == name, before),
            paired=paired,
            shared_reference=False,
        )
        for name in was.names
    }


def _share(is_one: np.ndarray, of: Snapshot) -> Estimate:
    """A share of a snapshot's images, its error over their clusters."""
    values = torch.from_numpy(is_one.astype(np.float64))
    share = float(values.mean())
    clusters = (e.clusters for e in of.estimates.values() if e.clusters is not None)
    return estimate(
        Score(share, fake_influence=values - share, bounds=(0.0, 1.0)),
        n=len(values),
        m=None,
        clusters=next(clusters, None),
    )


def _turned(shift: Difference) -> Difference:
    value = None if shift.value is None else -shift.value
    errors = None if shift.errors is None else shift.errors[::-1]
    interval = None if shift.interval is None else (-shift.interval[1], -shift.interval[0])
    return Difference(
        value, shift.stderr, interval, shift.p, shift.paired, shift.notes, shift.degrees, errors
    )


def _reason(question: Question) -> str:
    if question.settled == "implausible":
        return "better than real images can be: look for copies of the reference among the samples"
    if question.same:
        return "no image changed"
    return question.reason
