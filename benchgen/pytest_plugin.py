"""The gate as a pytest fixture: a test fails where a generator has become worse.

    @pytest.mark.benchgen(suite="suite.toml", margin="5%")
    def test_quality(benchgen_gate):
        benchgen_gate()

Loads nothing of benchgen until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchgen.gate.documents import GateDocument
    from benchgen.suite import Suite

_UPDATE = "--benchgen-update-baselines"
_REASON = "--benchgen-reason"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchgen", "regression gates of image generators")
    group.addoption(
        _UPDATE,
        action="store_true",
        help="accept what the generators are now as the baselines of benchgen_gate",
    )
    group.addoption(_REASON, metavar="TEXT", help="why; kept with the baselines")
    group.addoption(
        "--benchgen-baselines",
        metavar="DIR",
        help="where the baselines lie; default: .benchgen/baselines in the root directory",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "benchgen(suite, margin, generators, allow_inconclusive): what benchgen_gate compares",
    )
    if config.getoption(_UPDATE) and not (config.getoption(_REASON) or "").strip():
        raise pytest.UsageError(f"{_UPDATE} needs a reason; say {_REASON} 'why'")


@pytest.fixture
def benchgen_gate(request: pytest.FixtureRequest) -> Callable[..., GateDocument]:
    """``benchgen_gate(suite, margin=…)`` fails the test where a generator has become worse.

    Arguments, each of which ``@pytest.mark.benchgen`` may give instead:
        suite: A suite, the path of a suite file (from the root directory), or a bundled name.
        margin: For every metric, or by metric: a number, or a share of the baseline as "5%".
        generators: Names of the generators to gate; default: all of the suite.
        allow_inconclusive: Whether an undecided gate passes.

    Returns the outcome.
    """
    marker = request.node.get_closest_marker("benchgen")
    given: dict[str, Any] = dict(marker.kwargs) if marker else {}
    if marker and marker.args:
        given |= dict(zip(("suite", "margin"), marker.args, strict=False))

    def check(*arguments: Any, **named: Any) -> GateDocument:
        told = dict(zip(("suite", "margin"), arguments, strict=False))
        return _gate(request.config, **(given | told | named))

    return check


def _gate(
    config: pytest.Config,
    suite: Suite | str | Path = "digits",
    margin: float | str | Mapping[str, float | str] | None = None,
    generators: Sequence[str] = (),
    allow_inconclusive: bool = False,
) -> GateDocument:
    import getpass

    from benchgen.accepting import accept_baseline
    from benchgen.gating import run_gate

    root = config.rootpath
    chosen = _chosen(root, suite, margin)
    told = config.getoption("--benchgen-baselines")
    folder = root / (told or ".benchgen/baselines")
    if config.getoption(_UPDATE):
        reason = config.getoption(_REASON)
        author = getpass.getuser()
        accept_baseline(chosen, reason=reason, author=author, generators=generators, folder=folder)
    out = root / ".benchgen" / "gate" / chosen.name
    document = run_gate(
        chosen,
        generators=generators,
        folder=folder,
        out=out,
        allow_inconclusive=allow_inconclusive,
    )
    if document.exit_code:
        pytest.fail(_told(document, out), pytrace=False)
    return document


def _chosen(
    root: Path,
    suite: Suite | str | Path,
    margin: float | str | Mapping[str, float | str] | None,
) -> Suite:
    from benchgen.evaluation import open_suite
    from benchgen.suite import Suite

    if not isinstance(suite, Suite) and str(suite).endswith(".toml"):
        suite = root / suite
    chosen = open_suite(suite)
    if margin is not None:
        told: dict[str, Any] = {"margin": margin, "margins": {}}
        if isinstance(margin, Mapping):
            told = {"margins": dict(margin)}
        chosen = chosen.replace(gate=chosen.gate.model_dump() | told)
    return chosen


def _told(document: GateDocument, out: Path) -> str:
    """The verdicts that fail the gate, as an assertion would show them."""
    from benchgen.gate import words
    from benchgen.gate.build import pairs_file

    lines = [words.headline(document), ""]
    for check in words.sorted_checks(document):
        if check.verdict in ("unchanged", "improved"):
            continue
        lines.append(f"{check.generator}: {check.check} is {check.verdict}")
        if check.harm is not None:
            lines += [
                f"  assert harm ≤ margin (n = {check.n:,}, "
                f"{'paired' if check.paired else 'not paired'})",
                f"    harm     {words.harm(check)}",
                f"    margin   {words.margin(check)}",
                f"    baseline {words.values(check).replace(' → ', ', now ')}",
            ]
        note = words.cells(check)[-1]
        lines += [f"  {note}"] if note else []
    pictures = dict.fromkeys(out / pairs_file(pair.generator) for pair in document.pairs)
    lines += ["", *(f"before and after: {path}" for path in pictures)]
    lines.append(f"report: {out / 'index.html'}")
    return "\n".join(lines)
