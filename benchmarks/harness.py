"""Measures contestants against each other, each time in a process of its own, in rounds.

A script says what it claims (``Benchmark``) and on which inputs (``Stage``), and calls ``run``. For
every measurement the script is started again with ``--child`` and hands that to ``child``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from claims import Claim, Contestant, Measurement, Results, Verdict, compare, judge, section

REPORTS = Path(__file__).parent.parent / "reports" / "benchmarks"

Found = Mapping[str, Mapping[str, Results]]


@dataclass(frozen=True)
class Benchmark:
    """What one script measures.

    Attributes:
        title: Heads the Markdown.
        script: The script's file. The results are named after it.
        claims: All that it can measure.
        packages: Distributions whose versions the numbers depend on.
        read: The inputs in a folder, as contestants take them.
        read_small: A little of them, for a first call that is not measured; None where the first
            call is what users wait for.
    """

    title: str
    script: Path
    claims: Sequence[Claim]
    packages: Sequence[str]
    read: Callable[[Path], Any]
    read_small: Callable[[Path], Any] | None = None


@dataclass(frozen=True)
class Stage:
    """Claims that are measured on the same inputs: ``n`` images a side, written by ``write``."""

    claims: Sequence[Claim]
    n: int
    rounds: int
    write: Callable[[Path], None]


def parser(benchmark: Benchmark, n: int, rounds: int, description: str) -> argparse.ArgumentParser:
    """The options that every script has, with these defaults."""
    keys = [claim.key for claim in benchmark.claims]
    made = argparse.ArgumentParser(description=description, epilog=f"claims: {', '.join(keys)}")
    made.add_argument("--n", type=int, default=n, help="images on each side")
    made.add_argument("--repeats", type=int, default=rounds, help="rounds")
    made.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="CLAIM")
    made.add_argument("--skip", nargs="+", choices=keys, default=[], metavar="CLAIM")
    made.add_argument("--threads", type=int, default=2, help="threads of every contestant")
    made.add_argument("--timeout", type=float, default=1800, help="seconds for a measurement")
    made.add_argument("--no-check", dest="check", action="store_false", help="always exit with 0")
    out = REPORTS / f"{benchmark.script.stem}.json"
    made.add_argument("--out", type=json_file, default=out, help="the JSON file to write")
    more = "keep what --out holds, and add the rounds of the chosen claims to it"
    made.add_argument("--add", action="store_true", help=more)
    made.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    return made


def json_file(text: str) -> Path:
    """A path that results can be written to: told before hours of measuring, not after.

    Raises:
        argparse.ArgumentTypeError: It is a folder, or does not end in .json.
    """
    path = Path(text)
    if path.is_dir() or path.suffix != ".json":
        what = "is a folder" if path.is_dir() else "does not end in .json"
        raise argparse.ArgumentTypeError(f"{path} {what}; name a file such as results.json")
    return path


def chosen(benchmark: Benchmark, given: argparse.Namespace) -> list[Claim]:
    """The claims that the options ask for."""
    return [c for c in benchmark.claims if c.key in given.only and c.key not in given.skip]


def run(
    benchmark: Benchmark,
    given: argparse.Namespace,
    stages: Sequence[Stage],
    settings: Mapping[str, Any],
    told: str,
) -> int:
    """Measure, print and write; 1 if something that was tested does not hold.

    Args:
        benchmark: What is measured.
        given: The options of ``parser``.
        stages: What is measured on what.
        settings: What else the numbers depend on; goes into the JSON.
        told: The same in a line of words.
    """
    if hasattr(os, "sched_setaffinity"):  # some tools start as many threads as they please
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    facts = {**_facts(benchmark, given), **settings}
    kept = _kept(given.out, facts) if given.add else {}
    measured = {claim.key for stage in stages for claim in stage.claims}
    claims = [claim for claim in benchmark.claims if claim.key in measured | kept.keys()]
    found = {
        c.key: {one.name: Results() for one in c.contestants} | kept.get(c.key, {}) for c in claims
    }
    print("\n".join(_told(facts, told)), flush=True)
    for stage in stages:
        for _ in _rounds(benchmark, stage, found, given):  # an interruption loses one round alone
            facts["repeats"] = max(len(r.rounds) for some in found.values() for r in some.values())
            begun = [c for c in claims if any(r.rounds or r.failure for r in found[c.key].values())]
            verdicts = {c.key: judge(c, found[c.key]) for c in begun}
            _write_json(given.out, facts, begun, found, verdicts)
            lines = [f"# {benchmark.title}", "\n".join(f"- {line}" for line in _told(facts, told))]
            lines += [section(c, found[c.key], verdicts[c.key]) for c in begun]
            given.out.with_suffix(".md").write_text("\n\n".join(lines) + "\n")
    print("\n" + "\n\n".join(lines[2:]))
    bad = any(each.holds is False for some in verdicts.values() for each in some)
    return int(bad and given.check)


def child(benchmark: Benchmark, key: str, name: str, folder: str, threads: str) -> int:
    """Measure one contestant and print its ``Measurement`` as JSON."""
    import torch

    torch.set_num_threads(int(threads))
    (claim,) = (claim for claim in benchmark.claims if claim.key == key)
    (one,) = (one for one in claim.contestants if one.name == name)
    with redirect_stdout(sys.stderr):  # some tools print
        if benchmark.read_small is not None:
            one.load(benchmark.read_small(Path(folder)))()
        work = one.load(benchmark.read(Path(folder)))
        if claim.twice:
            work()
        before = _forget_peak()
        started = time.perf_counter()
        values = work()
        seconds = time.perf_counter() - started
        peak = _peak()
    print(json.dumps(asdict(Measurement(seconds, before, peak, values))))
    return 0


def _forget_peak() -> float:
    """MiB in use; the peak starts from there where the system can forget the one so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Most MiB that were ever resident."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM; the peak cannot be measured")
    return int(found[1]) / 1024


# The parent: rounds of measurements.


def _rounds(
    benchmark: Benchmark, stage: Stage, found: Found, given: argparse.Namespace
) -> Iterator[None]:
    """Measure a stage; pauses after each round."""
    if not stage.claims:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage.write(folder)
        for _ in range(stage.rounds):
            for claim in stage.claims:
                number = max(len(one.rounds) for one in found[claim.key].values())
                measure_round(benchmark, claim, found[claim.key], folder, number, given)
                compare(claim, found[claim.key], stage.n)
            yield


def measure_round(
    benchmark: Benchmark,
    claim: Claim,
    found: Mapping[str, Results],
    folder: Path,
    number: int,
    given: argparse.Namespace,
) -> None:
    """Every contestant that has not failed yet, once; round ``number`` decides who begins."""
    turn = number % len(claim.contestants)
    for one in [*claim.contestants[turn:], *claim.contestants[:turn]]:
        results = found[one.name]
        if results.failure is not None:
            continue
        try:
            results.rounds.append(_measured(benchmark, claim, one, folder, given))
            told = f"{results.rounds[-1].seconds:.3g} s"
        except _FailedError as error:
            told = results.failure = f"round {number + 1}: {error}"
        print(f"round {number + 1}  {claim.key}  {one.name}: {told}", file=sys.stderr, flush=True)


class _FailedError(Exception):
    """Why a contestant gave no result."""


def _measured(
    benchmark: Benchmark, claim: Claim, one: Contestant, folder: Path, given: argparse.Namespace
) -> Measurement:
    package = one.name.split(",")[0]
    if _version(package) is None:
        raise _FailedError(f"{package} is not installed")
    threads = str(given.threads)
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    limits = {f"{library}_NUM_THREADS": threads for library in libraries}
    script = [sys.executable, str(benchmark.script)]
    try:
        done = subprocess.run(
            [*script, "--child", claim.key, one.name, str(folder), threads],
            env={**os.environ, **limits, **claim.environment},
            capture_output=True,
            text=True,
            timeout=given.timeout,
        )
    except subprocess.TimeoutExpired:
        raise _FailedError(f"took more than {given.timeout:g} s") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise _FailedError(f"ended by {name}" + " (out of memory?)" * (name == "SIGKILL"))
    told = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode or not told:
        reason = re.sub(r"/\S*/", "", (told or ["no result"])[-1])  # no paths in what is published
        raise _FailedError(reason.replace("|", "/")[:200])
    measurement = Measurement(**json.loads(told[-1]))
    for name, value in measurement.values.items():
        if not math.isfinite(value):
            raise _FailedError(f"{name} came out as {value}")
    return measurement


def _kept(out: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Results]]:
    """What an earlier call wrote, by claim and contestant.

    Raises:
        SystemExit: there is nothing, or it was measured on or with something else.
    """
    try:
        document = json.loads(out.read_text())
    except FileNotFoundError:
        raise SystemExit(f"there is no {out} to add rounds to; leave out --add") from None
    for name in facts.keys() - {"repeats"}:
        if document.get(name) != facts[name]:
            raise SystemExit(
                f"rounds cannot be added to {out}: its {name} is {document.get(name)}, not "
                f"{facts[name]}; measure all again, without --add"
            )
    return {
        key: {name: Results.of(one) for name, one in claim["contestants"].items()}
        for key, claim in document["claims"].items()
    }


# What is told.


def _facts(benchmark: Benchmark, given: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on, whatever the script."""
    return {
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in benchmark.packages},
        "processor": _processor(),
        "cores": os.cpu_count(),
        **{name: getattr(given, name) for name in ("threads", "n", "repeats")},
    }


def _told(facts: Mapping[str, Any], told: str) -> list[str]:
    versions = [f"{name} {found or '(none)'}" for name, found in facts["versions"].items()]
    return [
        ", ".join(versions),
        f"{facts['processor']}, {facts['cores']} cores, of which {facts['threads']} are used",
        told,
        f"medians of {facts['repeats']} interleaved rounds; ratios are of medians, with the least "
        "and the greatest of a round",
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Its name; on Linux with family and model, since a virtual machine may not tell it in full."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", text, re.MULTILINE))
    if len(fields) < 3:
        return fields.get("model name") or platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"


def _write_json(
    out: Path,
    facts: Mapping[str, Any],
    claims: Sequence[Claim],
    found: Found,
    verdicts: Mapping[str, Sequence[Verdict]],
) -> None:
    measured = {
        claim.key: {
            "title": claim.title,
            "contestants": {name: one.document() for name, one in found[claim.key].items()},
            "verdicts": [asdict(each) for each in verdicts[claim.key]],
        }
        for claim in claims
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**facts, "claims": measured}, indent=1) + "\n")
