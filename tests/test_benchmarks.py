"""The harness of the benchmarks: what it measures, compares, judges and writes."""

from __future__ import annotations

import json
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks_loading import load

claims, harness = load("claims"), load("harness")
N = 240


def test_two_times_are_apart_by_what_is_allowed_or_more() -> None:
    one = claims.Contestant("peer", lambda _: dict, relative=1e-6)
    ours = claims.Contestant("benchgen", lambda _: dict)
    for value, expected in ((2.0 + 1e-5, [False]), (2.0 + 1e-7, [])):
        found = {"benchgen": _results(1.0, fid=2.0), "peer": _results(9.0, fid=value)}
        claim = claims.Claim("key", "title", [ours, one])
        claims.compare(claim, found, N)
        assert [verdict.holds for verdict in claims.judge(claim, found)] == expected


def test_values_are_held_against_those_of_the_contestant_named() -> None:
    ours = claims.Contestant("benchgen", lambda _: dict)
    first = claims.Contestant("first", lambda _: dict)
    second = claims.Contestant("second", lambda _: dict, relative=0.1, same_as="first")
    found = {
        "benchgen": _results(1.0, fid=1.0),
        "first": _results(1.0, fid=2.0),
        "second": _results(1.0, fid=2.1),
    }
    claims.compare(claims.Claim("key", "title", [ours, first, second]), found, N)
    assert found["first"].apart is None
    assert found["second"].apart == pytest.approx((0.05, 0.1))


def test_sampling_errors_images_and_absolute_differences_widen_what_is_allowed() -> None:
    one = claims.Contestant("peer", lambda _: dict, relative=1e-6, images=2)
    rounds = [{"kid": 0.011, "sampling_error": 0.001}, {"kid": 0.01}]
    difference, allowed = claims.apart(one, rounds, {"kid": 0.01}, 1000)
    assert difference == pytest.approx(0.1)
    assert allowed == pytest.approx(1e-6 + (0.002 + 0.005) / 0.01)
    one = claims.Contestant("peer", lambda _: dict, relative=0.0, absolute=0.01)
    assert claims.apart(one, [{"fid": 5.005}], {"fid": 5.0}, N) == pytest.approx((1e-3, 2e-3))


@pytest.mark.parametrize(
    ("ours", "peer", "holds", "told"),
    [
        (1.0, 8.5, True, "claim: at least 8x peer: 8.5x (8.5-8.5): holds"),
        (1.0, 7.5, False, "claim: at least 8x peer: 7.5x (7.5-7.5): does NOT hold"),
        (1.0, None, None, "claim: at least 8x peer: not tested (gone)"),
        (None, 8.5, False, "claim: at least 8x peer: does NOT hold (gone)"),
    ],
)
def test_verdict(ours: float | None, peer: float | None, holds: bool | None, told: str) -> None:
    found = {"benchgen": _results(ours), "peer": _results(peer)}
    verdict = claims.verdict(claims.Bound("ratio", 8, "peer"), found["benchgen"], found)
    assert (verdict.holds, verdict.text) == (holds, told)


@pytest.mark.parametrize(("peer", "holds"), [(1.04, True), (1.06, False)])
def test_bound_on_what_something_more_costs(peer: float, holds: bool) -> None:
    found = {"benchgen": _results(1.0), "benchgen, all": _results(peer)}
    bound = claims.Bound("cost", 1.05, "benchgen, all")
    verdict = claims.verdict(bound, found["benchgen"], found)
    assert verdict.holds is holds
    assert verdict.text.startswith("claim: benchgen, all takes at most 1.05x the time: 1.0")


@pytest.mark.parametrize(("share", "holds"), [(0.95, True), (0.85, False)])
def test_bound_on_a_value(share: float, holds: bool) -> None:
    found = {"benchgen": _results(1.0, share=share)}
    bound = claims.Bound("value", 0.9, value="share")
    verdict = claims.verdict(bound, found["benchgen"], found)
    assert verdict.holds is holds
    assert verdict.text.startswith(f"claim: share at least 0.9: {share}: ")


@pytest.mark.parametrize(("kind", "holds"), [("seconds", True), ("above", False), ("total", False)])
def test_bounds_on_benchgen_alone(kind: Any, holds: bool) -> None:
    found = {"benchgen": _results(1.0)}  # 100 MiB, of which 50 above the features
    verdict = claims.verdict(claims.Bound(kind, 40), found["benchgen"], found)
    assert verdict.holds is holds


@pytest.mark.parametrize(("memory", "told"), [("above", "50"), ("total", "100")])
def test_table_tells_the_memory_that_the_claim_is_about(memory: Any, told: str) -> None:
    one = claims.Contestant("benchgen", lambda _: dict)
    claim = claims.Claim("key", "Title", [one], memory=memory)
    assert f"| benchgen | 1 | 1 | {told} |" in claims.section(claim, {one.name: _results(1.0)}, [])


def test_what_fails_is_listed_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = "Traceback ...\nFileNotFoundError: no file /home/someone/there/real.npy | or so\n"
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=told)
    claim, found = _round(monkeypatch, tmp_path, failed, [])
    reason = "round 1: FileNotFoundError: no file real.npy / or so"
    assert found["benchgen"].failure == reason
    assert f"| benchgen |  |  |  | {reason} |  |" in claims.section(claim, found, [])
    assert [verdict.holds for verdict in claims.judge(claim, found)] == [False]


def test_process_gets_the_threads_and_the_environment_of_its_claim(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = '{"seconds": 2.0, "before": 1.0, "peak": 3.0, "values": {"fid": 4.0}}\n'
    calls: list[dict[str, Any]] = []
    done = subprocess.CompletedProcess([], 0, stdout="chatter\n" + told, stderr="")
    _, found = _round(monkeypatch, tmp_path, done, calls)
    assert found["benchgen"].rounds == [claims.Measurement(2.0, 1.0, 3.0, {"fid": 4.0})]
    (call,) = calls
    assert (call["OMP_NUM_THREADS"], call["MALLOC_TRIM_THRESHOLD_"]) == ("3", "7")


def test_rounds_begin_with_another_contestant_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order: list[str] = []

    def measured(benchmark: Any, claim: Any, one: Any, *_: Any) -> Any:
        order.append(one.name)
        return claims.Measurement(1.0, 1.0, 1.0, {})

    monkeypatch.setattr(harness, "_measured", measured)
    claim = claims.Claim(
        "key", "Title", [claims.Contestant(name, lambda _: dict) for name in "abc"]
    )
    found = {name: claims.Results() for name in "abc"}
    for number in range(3):
        harness.measure_round(None, claim, found, tmp_path, number, None)
    assert "".join(order) == "abcbcacab"


@pytest.mark.parametrize(("name", "told"), [("", "is a folder"), ("out.md", "name a file")])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    benchmark = harness.Benchmark("Title", Path("script.py"), [], (), Path)
    with pytest.raises(SystemExit):
        harness.parser(benchmark, N, 1, "").parse_args(["--out", str(tmp_path / name)])
    assert told in capsys.readouterr().err


def test_rounds_are_added_to_those_of_an_earlier_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seconds = iter((2.0, 8.0, 4.0, 12.0, 3.0, 9.0))

    def measured(*_: Any) -> Any:
        return claims.Measurement(next(seconds), 1.0, 1.0, {})

    monkeypatch.setattr(harness, "_measured", measured)
    monkeypatch.setattr(harness.os, "sched_setaffinity", lambda *_: None)
    ours, kept = (
        claims.Claim(key, key, [claims.Contestant("benchgen", lambda _: dict)])
        for key in ("ours", "kept")
    )
    benchmark = harness.Benchmark("Title", Path("script.py"), [ours, kept], (), Path)
    given = harness.parser(benchmark, N, 1, "").parse_args(["--out", str(tmp_path / "out.json")])

    def run(*claims_: Any) -> dict[str, Any]:
        stage = harness.Stage(claims_, N, 1, lambda _: None)
        assert harness.run(benchmark, given, [stage], {"images": "made"}, "") == 0
        document: dict[str, Any] = json.loads(given.out.read_text())
        return document

    run(ours, kept)
    given.add = True
    run(ours)
    document = run(ours)
    rounds = {
        key: [one["seconds"] for one in claim["contestants"]["benchgen"]["rounds"]]
        for key, claim in document["claims"].items()
    }
    assert rounds == {"ours": [2.0, 4.0, 12.0], "kept": [8.0]}
    assert document["claims"]["ours"]["contestants"]["benchgen"]["seconds"] == 4.0
    assert document["repeats"] == 3
    assert "medians of 3 interleaved rounds" in given.out.with_suffix(".md").read_text()

    given.n = N + 1
    with pytest.raises(SystemExit, match=f"its n is {N}, not {N + 1}; measure all again"):
        run(ours)
    given.out.unlink()
    with pytest.raises(SystemExit, match="to add rounds to"):
        run(ours)


def _round(
    monkeypatch: pytest.MonkeyPatch, folder: Path, done: Any, environments: list[dict[str, Any]]
) -> tuple[Any, Any]:
    """One round of one contestant whose process ends as it is told to."""

    def started(command: Any, env: Any, **_: Any) -> Any:
        environments.append(env)
        return done

    monkeypatch.setattr(harness.subprocess, "run", started)
    ours = claims.Contestant("benchgen", lambda _: dict)
    claim = claims.Claim("key", "Title", [ours], environment={"MALLOC_TRIM_THRESHOLD_": "7"})
    benchmark = harness.Benchmark("Title", Path("script.py"), [claim], (), Path)
    found = {"benchgen": claims.Results()}
    given = Namespace(threads=3, timeout=1.0)
    harness.measure_round(benchmark, claim, found, folder, 0, given)
    return claim, found


def _results(seconds: float | None, **values: float) -> Any:
    if seconds is None:
        return claims.Results(failure="gone")
    return claims.Results([claims.Measurement(seconds, 50.0, 100.0, values)])
