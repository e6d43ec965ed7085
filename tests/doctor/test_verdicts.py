"""From responses to verdicts, on responses made up for the purpose."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scipy import stats

from benchgen.doctor.battery import Response
from benchgen.doctor.verdicts import Finding, judge
from benchgen.stats.paired import Difference


def _difference(value: float, stderr: float | None) -> Difference:
    p = None if stderr is None else float(2 * stats.norm.sf(abs(value) / stderr))
    return Difference(value, stderr, None, p, True)


def _responses(changes: Sequence[float | None], stderr: float | None = 1.0) -> list[Response]:
    """Responses of these changes, at strengths 1, 2, ...; None is undefined."""
    found, last = [], 0.0
    for strength, change in enumerate(changes, start=1):
        if change is None:
            found.append(Response(strength, None, None, None, None, "too few"))
            continue
        step = _difference(change - last, stderr)
        found.append(Response(strength, change, stderr, _difference(change, stderr), step, None))
        last = change
    return found


def _one(direction: str, changes: Sequence[float | None], stderr: float | None = 1.0) -> Finding:
    return judge(direction, {"blur": _responses(changes, stderr)})["blur"]  # type: ignore[arg-type]


def test_sees_from_the_first_strength_after_which_all_are_worse() -> None:
    found = _one("lower", [0, 9, 0, 9, 20])
    assert (found.verdict, found.seen_from) == ("sees", 4)
    assert found.monotone is False
    found = _one("lower", [0, 1, 9, 9.5, 20])
    assert (found.verdict, found.seen_from, found.monotone) == ("sees", 3, True)


def test_the_direction_decides_what_is_worse() -> None:
    assert _one("higher", [-9, -20]).verdict == "sees"
    assert _one("higher", [9, 20]).verdict == "fooled"
    assert _one("lower", [-9, -20]).verdict == "fooled"
    assert _one("higher", [-9, -20]).judged[0].harm == pytest.approx(9)


@pytest.mark.parametrize("sign", [-1, 1])
def test_without_a_direction_any_departure_counts(sign: int) -> None:
    found = _one("none", [0, sign * 9, sign * 20])
    assert (found.verdict, found.seen_from, found.monotone) == ("sees", 2, True)
    assert found.judged[2].harm == pytest.approx(20)
    there_and_back = _one("none", [sign * -9, sign * 20])
    assert (there_and_back.verdict, there_and_back.seen_from) == ("sees", 1)
    assert there_and_back.monotone is False


def test_a_step_back_within_its_error_is_in_step() -> None:
    assert _one("lower", [9, 8, 20]).monotone is True


def test_blind_where_nothing_moves_beyond_its_error() -> None:
    found = _one("lower", [0.5, -1, 1.5])
    assert (found.verdict, found.seen_from, found.monotone) == ("blind", None, None)
    assert {one.move for one in found.judged} == {"still"}


def test_fades_where_the_strongest_is_not_seen() -> None:
    found = _one("lower", [9, 9, 0])
    assert (found.verdict, found.seen_from) == ("fades", None)


def test_fooled_goes_before_seeing() -> None:
    found = _one("higher", [9, 9, -9])
    assert (found.verdict, found.better_at, found.seen_from) == ("fooled", (1, 2), 3)


def test_p_values_are_adjusted_over_all_defects_of_the_metric() -> None:
    """A response of 2.5 standard errors stands alone, but not among twenty."""
    alone = judge("lower", {"blur": _responses([2.5])})
    assert alone["blur"].verdict == "sees"
    crowd = judge("lower", {"blur": _responses([2.5]), "noise": _responses([0.1] * 19)})
    assert crowd["blur"].verdict == "blind"
    assert crowd["blur"].judged[0].p == pytest.approx(20 * 2 * stats.norm.sf(2.5))


def test_without_an_error_any_change_counts() -> None:
    assert _one("higher", [0, -1, -1], stderr=None).seen_from == 2
    assert _one("higher", [0, 0], stderr=None).verdict == "blind"
    assert _one("higher", [1], stderr=None).verdict == "fooled"
    assert _one("higher", [1e-12], stderr=None).verdict == "blind"


def test_undefined_responses_are_kept_and_take_no_part() -> None:
    found = _one("lower", [None, 9, None])
    assert (found.verdict, found.seen_from) == ("sees", 2)
    assert [one.move for one in found.judged] == [None, "worse", None]
    assert found.judged[0].response.reason == "too few"
    assert _one("lower", [None, None]).verdict == "undefined"
