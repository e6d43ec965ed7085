"""Verdicts on scores that are made up: margins, directions, looks, class shares, bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchgen.asked import GateChoice
from benchgen.gate.documents import CheckRecord
from benchgen.gate.snapshot import Classes, Key, Snapshot, gated_difference
from benchgen.gate.verdict import Judge, gated, margin_of
from benchgen.metrics.base import Score
from benchgen.runs.documents import MetricRecord, SourceRecord
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.paired import difference

SIZES = (100, 200, 400)
KEY: Key = ("error", "net")


def metric(
    name: str = "error", direction: str = "lower", unit: str = "", grows: bool = False
) -> MetricRecord:
    return MetricRecord.model_validate(
        {
            "id": name,
            "title": name,
            "direction": direction,
            "unit": unit,
            "scale": 1.0,
            "depends_on_n": grows,
            "population": False,
            "reads": "",
        }
    )


@dataclass
class Made:
    """A generator whose metric is the mean of some numbers, and whose classes are given."""

    values: np.ndarray
    seen: np.ndarray | None = None
    seed: int = 0
    sizes: tuple[int, ...] = SIZES
    version: str = "1"

    def value(self, key: Key) -> float:
        return float(self.values[: SIZES[-1]].mean())

    def _seen(self, n: int) -> dict[str, Classes]:
        if self.seen is None:
            return {}
        names = tuple(sorted(set(self.seen.tolist())))
        return {"net": Classes(names, {"version": self.version}, self.seen[:n])}

    def snapshot(self, place: int) -> Snapshot:
        n = SIZES[place]
        part = torch.from_numpy(self.values[:n])
        mean = float(part.mean())
        source = SourceRecord(
            name="g", kind="generator", id="g", fingerprint="", seed=self.seed, index_pure=True
        )
        return Snapshot(
            source=source,
            n=n,
            excluded=0,
            estimates={KEY: estimate(Score(mean, fake_influence=part - mean), n=n, m=None)},
            fingerprints={KEY: {"metric": "error"}},
            seen=self._seen(n),
            clusters=None,
        )


def judged(
    before: Made, now: Made, direction: str = "lower", *, grows: bool = False, **asked: object
) -> dict[str, CheckRecord]:
    chosen = GateChoice.model_validate({"margins": {"error": 0.1}, "class_shares": 0} | asked)
    asking = {KEY: metric(direction=direction, grows=grows)}
    judge = Judge(chosen, asking, {"g": before})
    for place in range(len(SIZES)):
        judge.look("g", place, now.snapshot(place))
        if not judge.open("g"):
            break
    judge.close("g")
    return {record.check: record for record in judge.records}


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 1.0, SIZES[-1])


def test_a_shift_of_every_image_is_seen_at_the_first_look(values: np.ndarray) -> None:
    found = judged(Made(values), Made(values + 0.2 + 0.1 * np.sin(values * 50)))["error@net"]
    assert (found.verdict, found.n, found.paired) == ("degraded", 100, True)
    assert found.harm == pytest.approx(0.2, abs=0.05)
    assert found.margin == 0.1


def test_direction_decides_what_is_harm(values: np.ndarray) -> None:
    more = Made(values + 0.3 + 0.01 * np.sin(values * 50))
    assert judged(Made(values), more, "higher")["error@net"].verdict == "improved"
    assert judged(more, Made(values), "higher")["error@net"].verdict == "degraded"
    assert judged(more, Made(values))["error@net"].verdict == "improved"


def test_within_the_margin_is_unchanged(values: np.ndarray) -> None:
    little = Made(values + 0.02 + 0.05 * np.sin(values * 50))
    assert judged(Made(values), little)["error@net"].verdict == "unchanged"


def test_what_grows_with_images_needs_more_of_them_to_be_within_its_margin(
    values: np.ndarray,
) -> None:
    noise = np.random.default_rng(1).normal(0, 1, SIZES[-1])
    slightly, hardly = Made(values + 0.1 * noise), Made(values + 1e-6 * noise)
    plain = judged(Made(values), slightly, "higher")["error@net"]
    assert (plain.verdict, plain.n) == ("unchanged", SIZES[0])
    grown = judged(Made(values), slightly, "higher", grows=True)["error@net"]
    assert (grown.verdict, grown.n) == ("unchanged", SIZES[1])
    rounding = judged(Made(values), hardly, "higher", grows=True)["error@net"]
    assert (rounding.verdict, rounding.n) == ("unchanged", SIZES[0])
    same = judged(Made(values), Made(values), "higher", grows=True)["error@net"]
    assert (same.verdict, same.n) == ("unchanged", SIZES[0])
    harmed = judged(Made(values), Made(values - 1.0), "higher", grows=True)["error@net"]
    assert (harmed.verdict, harmed.n) == ("degraded", SIZES[0])


def test_no_change_at_all_is_unchanged_even_without_a_margin(values: np.ndarray) -> None:
    found = judged(Made(values), Made(values.copy()), margins={"error": 0.0})["error@net"]
    assert (found.verdict, found.n, found.reason) == ("unchanged", 100, "no image changed")


def test_what_cannot_be_told_is_inconclusive_and_says_how_many_images_would(
    values: np.ndarray,
) -> None:
    other = np.random.default_rng(1).normal(3.0, 1.0, SIZES[-1])
    other += values.mean() - other.mean() + 0.08
    found = judged(Made(values), Made(other, seed=1))["error@net"]
    assert (found.verdict, found.n, found.paired) == ("inconclusive", 400, False)
    assert found.needed is not None
    assert found.needed > 400


def test_relative_margins_are_of_the_accepted_value() -> None:
    asked = GateChoice(margins={"error": "10%", "other": 0.2})
    assert margin_of(asked, "error", -3.0) == pytest.approx(0.3)
    assert margin_of(asked, "other", 7.0) == 0.2
    assert margin_of(GateChoice(), "any", 2.0) == pytest.approx(0.1)


def test_metrics_with_a_margin_are_gated_or_all_with_a_better_side() -> None:
    metrics = [(("a", "n"), metric("a")), (("b", "n"), metric("b", "none"))]
    assert list(gated(GateChoice(), metrics)) == [("a", "n")]
    assert list(gated(GateChoice(margins={"c": 1.0}), metrics)) == []


@pytest.mark.parametrize("margin", [-0.1, "5", "five%", "-3%", "nan%", float("inf")])
def test_bad_margins_are_refused(margin: float | str) -> None:
    with pytest.raises(ValueError, match="the margin of error is"):
        GateChoice(margins={"error": margin})


def test_a_suppressed_class_is_named(values: np.ndarray) -> None:
    seen = np.array([str(i % 5) for i in range(SIZES[-1])])
    fewer = seen.copy()
    threes = np.flatnonzero(seen == "3")
    fewer[threes[::2]] = "1"
    found = judged(
        Made(values, seen), Made(values.copy(), fewer), class_shares=0.02, margins={"error": 0.1}
    )
    shares = found["class shares@net"]
    assert shares.verdict == "degraded"
    assert shares.harm == pytest.approx(0.1, abs=0.01)
    assert shares.reason in ("class 1 rose most", "class 3 fell most")
    assert found["error@net"].verdict == "unchanged"


def test_equal_shares_are_unchanged(values: np.ndarray) -> None:
    seen = np.array([str(i % 5) for i in range(SIZES[-1])])
    swapped = seen.copy()
    swapped[:10] = seen[:10][::-1]
    found = judged(Made(values, seen), Made(values.copy(), swapped), class_shares=0.05)
    assert found["class shares@net"].verdict == "unchanged"


def test_another_classifier_or_none_is_incomparable(values: np.ndarray) -> None:
    seen = np.array([str(i % 5) for i in range(SIZES[-1])])
    for now, told in [
        (Made(values.copy(), seen, version="2"), "version was '1', is '2'"),
        (Made(values.copy()), "no such classifier or measure"),
    ]:
        found = judged(Made(values, seen), now, class_shares=0.05)["class shares@net"]
        assert found.verdict == "incomparable"
        assert told in found.reason


def test_clusters_widen_the_error_of_shares(values: np.ndarray) -> None:
    random = np.random.default_rng(3)
    seen = np.array([str(c) for c in random.integers(0, 5, 40).repeat(10)])
    other = np.array([str(c) for c in random.integers(0, 5, 40).repeat(10)])

    class Clustered(Made):
        def snapshot(self, place: int) -> Snapshot:
            there = super().snapshot(place)
            part = torch.from_numpy(self.values[: there.n])
            mean = float(part.mean())
            score = Score(mean, fake_influence=part - mean)
            labels = (np.arange(there.n) // 10).tolist()
            return replace(
                there, estimates={KEY: estimate(score, n=there.n, m=None, clusters=labels)}
            )

    def width(kind: type[Made]) -> float:
        found = judged(kind(values, seen), kind(values, other, seed=1), class_shares=0.05)
        low, high = found["class shares@net"].interval or (0.0, 0.0)
        return high - low

    assert width(Clustered) > 2 * width(Made)


def test_a_value_beyond_its_bound_is_implausible(values: np.ndarray) -> None:
    better = Made(values - 1.0)
    bound = {"bounds": {"error": 2.5}}
    assert judged(Made(values), better, **bound)["error@net"].verdict == "implausible"
    near = {"bounds": {"error": 1.9}}
    assert judged(Made(values), better, **near)["error@net"].verdict == "improved"


def test_what_is_undefined_on_both_sides_is_not_asked(values: np.ndarray) -> None:
    found = {}
    for before, now in [(True, True), (True, False), (False, True)]:
        judge = Judge(GateChoice(class_shares=0), {KEY: metric()}, {"g": Undefined(values, before)})
        judge.look("g", 0, Undefined(values, now).snapshot(0))
        assert not judge.open("g")
        found[before, now] = [(record.verdict, record.reason) for record in judge.records]
    assert found[True, True] == []
    assert found[True, False] == [("incomparable", "undefined in the baseline: no likelihood")]
    assert found[False, True] == [("incomparable", "undefined now: no likelihood")]


class Undefined(Made):
    """The same, or without a value."""

    def __init__(self, values: np.ndarray, undefined: bool) -> None:
        super().__init__(values)
        self.undefined = undefined

    def snapshot(self, place: int) -> Snapshot:
        there = super().snapshot(place)
        if not self.undefined:
            return there
        nothing = estimate(Score(None, reason="no likelihood"), n=there.n, m=None)
        return replace(there, estimates={KEY: nothing})


def test_another_fingerprint_is_incomparable(values: np.ndarray) -> None:
    judge = Judge(GateChoice(class_shares=0), {KEY: metric()}, {"g": Made(values)})
    now = Made(values).snapshot(0)
    judge.look("g", 0, Snapshot(**{**vars(now), "fingerprints": {KEY: {"metric": "other"}}}))
    [record] = judge.records
    assert (record.verdict, record.reason) == (
        "incomparable",
        "metric was 'error', is 'other'",
    )
    assert not judge.open("g")


def test_errors_of_pairs_measured_by_halving_are_widened() -> None:
    def one(shift: float, halvings: Tensor | None) -> Estimate:
        values = torch.linspace(-1, 1, 50, dtype=torch.float64) * (1 + shift)
        return replace(estimate(Score(shift, values, None), n=50, m=None), halvings=halvings)

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 100, dtype=torch.float64, generator=generator)
    a, b = one(0.5, x), one(0.0, y)
    bare = difference(a, b, paired=True, shared_reference=True)
    wider = gated_difference(a, b, paired=True)
    assert bare.stderr is not None
    assert bare.interval is not None
    assert wider.value == bare.value
    assert wider.stderr == pytest.approx(1.1 * bare.stderr)
    assert wider.interval == pytest.approx(tuple(0.5 + 1.1 * (end - 0.5) for end in bare.interval))
    assert wider.p_at_least(1.0) > bare.p_at_least(1.0)  # type: ignore[operator]
    assert wider.p > bare.p  # type: ignore[operator]
    assert gated_difference(a, b, paired=False).stderr == pytest.approx(
        difference(a, b, paired=False, shared_reference=True).stderr
    )
    plain = one(0.5, None), one(0.0, None)
    assert gated_difference(*plain, paired=True).stderr == pytest.approx(
        difference(*plain, paired=True, shared_reference=True).stderr
    )
