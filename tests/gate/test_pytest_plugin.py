"""The pytest fixture, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchgen.accepting import accept_baseline
from benchgen.suite import Suite
from tests.gate.conftest import MakeSuite

pytest_plugins = ["pytester"]

TEST = """
    import pytest

    @pytest.mark.benchgen(suite="suite.toml", margin={margin!r})
    def test_quality(benchgen_gate):
        document = benchgen_gate()
        assert document.exit_code == 0
"""


def write(pytester: pytest.Pytester, suite: Suite, margin: object = "5%") -> None:
    (pytester.path / "suite.toml").write_text(suite.toml())
    pytester.makepyfile(TEST.format(margin=margin))


def baselines(pytester: pytest.Pytester) -> Path:
    return pytester.path / ".benchgen" / "baselines"


def test_an_unchanged_generator_passes(pytester: pytest.Pytester, suite: MakeSuite) -> None:
    accept_baseline(suite(), reason="first", author="Ada", folder=baselines(pytester))
    write(pytester, suite())
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)


def test_a_broken_one_fails_like_an_assertion(pytester: pytest.Pytester, suite: MakeSuite) -> None:
    accept_baseline(suite(), reason="first", author="Ada", folder=baselines(pytester))
    write(pytester, suite("normalisation"), {"fid": 0.1})
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "Gate failed: *",
            "strokes: fid@digits is degraded",
            "*assert harm ≤ margin (n = *, paired)",
            "*harm     +*",
            "*margin   0.100*",
            "before and after: *pairs-strokes.png",
            "report: *index.html",
        ]
    )


def test_updating_needs_a_reason_and_writes_baselines(
    pytester: pytest.Pytester, suite: MakeSuite
) -> None:
    write(pytester, suite())
    refused = pytester.runpytest_inprocess("--benchgen-update-baselines")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--benchgen-reason*"])
    assert not baselines(pytester).exists()
    given = ("--benchgen-update-baselines", "--benchgen-reason", "new")
    updated = pytester.runpytest_inprocess(*given)
    updated.assert_outcomes(passed=1)
    assert [path.name for path in sorted(baselines(pytester).rglob("strokes.*"))] == [
        "strokes.json",
        "strokes.parquet",
    ]


def test_the_plugin_loads_no_torch() -> None:
    code = "import sys, benchgen.pytest_plugin; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
