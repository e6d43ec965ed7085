"""Whether an audit's intervals cover, and how often its parity check is wrong, by simulation.

    python benchmarks/audit.py [--repetitions 2000] [--out FILE]

Images have kinds with known shares, and a labeler reads them with known errors. Shares are as read,
corrected by a calibration, corrected by the truth of a few, or of images that come in clusters; all
lie between 0.1 and 0.9. Prints a table, writes JSON and Markdown, and exits with 1 where 95 %
intervals cover less than 93 or more than 97 % (exact ones: less than 95 %, give or take two
standard errors of the simulation), or where parity fails for more than 5 % of fair generators.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from harness import REPORTS, json_file

from benchgen.stats.calibrated import Confusion, corrected_shares
from benchgen.stats.parity import distances, parity, ratio
from benchgen.stats.shares import UNKNOWN, Shares, powered_shares, read_shares

NAMES = "abcdefg"
THRESHOLD = 0.8
TWO = np.array([[0.9, 0.1, 0.0], [0.15, 0.85, 0.0]])
UNREAD = np.array([[0.85, 0.1, 0.05], [0.1, 0.7, 0.2]])
FOUR = np.array(
    [
        [0.85, 0.05, 0.05, 0.05, 0.0],
        [0.1, 0.8, 0.05, 0.05, 0.0],
        [0.02, 0.08, 0.9, 0.0, 0.0],
        [0.05, 0.05, 0.1, 0.8, 0.0],
    ]
)
FAIR = {2: np.full(2, 1 / 2), 7: np.full(7, 1 / 7)}

Make = Callable[[np.random.Generator], Shares]


@dataclass(frozen=True)
class Row:
    """One line of the table: a rate, and where it must lie."""

    what: str
    case: str
    rate: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.low <= self.rate <= self.high


def read(shares: np.ndarray, n: int) -> Make:
    """Kinds that are read without error."""

    def make(random: np.random.Generator) -> Shares:
        return read_shares(random.choice(len(shares), n, p=shares), NAMES[: len(shares)])

    return make


def clustered(shares: np.ndarray, clusters: int, each: int) -> Make:
    """Images of one prompt are alike: the prompts' shares vary about the whole's."""

    def make(random: np.random.Generator) -> Shares:
        of = np.repeat(np.arange(clusters), each)
        own = random.dirichlet(4 * shares, clusters).cumsum(axis=1)[of]
        labels = _drawn(random, own)
        return read_shares(labels, NAMES[: len(shares)], clusters=of)

    return make


def corrected(shares: np.ndarray, rates: np.ndarray, n: int, known: int) -> Make:
    """A labeler with errors, calibrated on so many images of each kind."""

    def make(random: np.random.Generator) -> Shares:
        kinds, names = len(shares), NAMES[: len(shares)]
        labels = _labelled(random, random.choice(kinds, n, p=shares), rates)
        true = np.repeat(np.arange(kinds), known)
        return corrected_shares(labels, Confusion.of(true, _labelled(random, true, rates), names))

    return make


def powered(shares: np.ndarray, rates: np.ndarray, n: int, looked: int) -> Make:
    """A labeler with errors, and the truth of a random few."""

    def make(random: np.random.Generator) -> Shares:
        true = random.choice(len(shares), n, p=shares)
        labels = _labelled(random, true, rates)
        seen = random.permutation(n) < looked
        return powered_shares(labels, np.where(seen, true, UNKNOWN), NAMES[: len(shares)])

    return make


def _drawn(random: np.random.Generator, cumulated: np.ndarray) -> np.ndarray:
    found: np.ndarray = (random.random((len(cumulated), 1)) > cumulated).sum(axis=1)
    return found.clip(max=cumulated.shape[1] - 1)


def _labelled(random: np.random.Generator, true: np.ndarray, rates: np.ndarray) -> np.ndarray:
    read = _drawn(random, rates.cumsum(axis=1)[true])
    return np.where(read == len(rates), UNKNOWN, read)


def cases() -> list[tuple[str, str, np.ndarray, Make]]:
    """Kind of shares, case in words, true shares, and a sample of them."""
    skewed, even = np.array([0.1, 0.9]), np.array([0.3, 0.7])
    four = np.array([0.1, 0.2, 0.3, 0.4])
    found: list[tuple[str, str, np.ndarray, Make]] = []
    for shares in (skewed, even, four):
        told = _told(shares)
        for n in (100, 1000):
            found.append(("as read", f"{told}, n = {n}", shares, read(shares, n)))
        found.append(("clustered", f"{told}, 50 of 10", shares, clustered(shares, 50, 10)))
        for n, known in ((500, 50), (1000, 200)):
            rates = FOUR if len(shares) == 4 else TWO
            case = f"{told}, n = {n}, {known} known of each"
            found.append(("corrected", case, shares, corrected(shares, rates, n, known)))
        case = f"{told}, n = 1000, truth of 200"
        rates = FOUR if len(shares) == 4 else TWO
        found.append(("powered", case, shares, powered(shares, rates, 1000, 200)))
    case = f"{_told(even)}, unread unequally, n = 1000, 200 known of each"
    found.append(("corrected", case, even, corrected(even, UNREAD, 1000, 200)))
    return found


def _told(shares: np.ndarray) -> str:
    return "/".join(f"{share:g}" for share in shares)


def coverage(make: Make, truth: np.ndarray, repetitions: int) -> tuple[float, float, float]:
    """How often intervals hold: the worst of the shares, the ratio of the first two, and TV."""
    covered, of_ratio, of_distance = np.zeros(len(truth)), 0, 0
    uniform = np.full(len(truth), 1 / len(truth))
    apart = np.abs(truth - uniform).sum() / 2
    for repetition in range(repetitions):
        shares = make(np.random.default_rng(repetition))
        for k, one in enumerate(shares.estimates().values()):
            low, high = one.interval or (np.nan, np.nan)
            covered[k] += low <= truth[k] <= high
        found, true = ratio(shares, 0, 1), truth[0] / truth[1]
        of_ratio += found.lower <= true and (found.upper is None or true <= found.upper)
        if repetition % 10 == 0:
            distance = distances(shares, uniform)
            of_distance += distance.lower <= apart <= distance.upper
    rates = covered / repetitions
    worst = rates[np.argmax(np.abs(rates - 0.95))]
    tenth = -(-repetitions // 10)
    return float(worst), float(of_ratio) / repetitions, float(of_distance) / tenth


def fails(shares: np.ndarray, n: int, repetitions: int) -> float:
    """How often parity fails."""
    make = read(shares, n)
    found = [
        parity(make(np.random.default_rng(r)), THRESHOLD).verdict == "fail"
        for r in range(repetitions)
    ]
    return float(np.mean(found))


def main() -> int:
    """Simulate, print and write; 1 if a rate is not where it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--out", type=json_file, default=REPORTS / "audit.json")
    given = parser.parse_args()
    begun, rows = time.perf_counter(), list[Row]()
    slack = 2 * (0.95 * 0.05 / given.repetitions) ** 0.5

    def add(row: Row) -> None:
        rows.append(row)
        print(_line(row), flush=True)

    for kind, case, truth, make in cases():
        worst, of_ratio, of_distance = coverage(make, truth, given.repetitions)
        add(Row(f"share, {kind}", case, worst, 0.93, 0.97))
        bounds = (0.95 - slack, 1.0) if kind == "as read" else (0.93, 0.97)
        add(Row(f"ratio, {kind}", case, of_ratio, *bounds))
        add(Row(f"distance, {kind}", case, of_distance, 0.95 - 3.2 * slack, 1))
    for kinds, shares in FAIR.items():
        for n in (100, 1000):
            rate = fails(shares, n, given.repetitions)
            add(Row("parity fails, fair", f"{kinds} kinds, n = {n}", rate, 0, 0.05))
    for n in (100, 300, 1000):
        rate = fails(np.array([0.4, 0.6]), n, given.repetitions)
        add(Row("parity fails, 40/60", f"n = {n}", rate, 0, 1))
    _write(given.out, rows, given.repetitions, time.perf_counter() - begun)
    broken = [row for row in rows if not row.holds]
    for row in broken:
        print(f"{row.what}, {row.case}: {row.rate:.1%}, not in [{row.low:.1%}, {row.high:.1%}]")
    return int(bool(broken))


def _line(row: Row) -> str:
    bounds = f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
    return f"| {row.what} | {row.case} | {100 * row.rate:.1f} % | {bounds} |"


def _write(out: Path, rows: list[Row], repetitions: int, seconds: float) -> None:
    document = {
        "repetitions": repetitions,
        "seconds": round(seconds),
        "numpy": np.__version__,
        "rows": [asdict(row) | {"holds": row.holds} for row in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    told = [
        "# What an audit's intervals and parity checks are worth",
        "",
        f"{repetitions:,} simulated audits a line (a tenth of them for distances). For shares, the "
        "coverage of 95 % intervals that is farthest from 95 % over the kinds; for ratios, that of "
        f"the first two kinds; parity has the limit {THRESHOLD:g}.",
        "",
        "| What | Case | Rate | Must lie in |",
        "| --- | --- | --- | --- |",
        *map(_line, rows),
    ]
    out.with_suffix(".md").write_text("\n".join(told) + "\n")


if __name__ == "__main__":
    sys.exit(main())
