"""The public names are exactly the documented ones, and importing them costs no torch."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import benchgen
from benchgen import errors


def test_public_names() -> None:
    assert sorted(benchgen.__all__) == [
        "BenchgenError",
        "Estimate",
        "ExtractorSpec",
        "GeneratorError",
        "GeneratorSpec",
        "ImageError",
        "MeasureSpec",
        "MetricError",
        "MetricSpec",
        "NotComparableError",
        "PluginError",
        "ReferenceSpec",
        "Result",
        "Run",
        "SampleBatch",
        "StoreError",
        "Suite",
        "SuiteError",
        "TrainerSpec",
        "TrainingJob",
        "UnknownIdError",
        "UsageError",
        "WeightsError",
        "__version__",
        "accept_baseline",
        "audit",
        "compare",
        "hookimpl",
        "run",
        "run_gate",
        "score",
        "train",
    ]
    for name in benchgen.__all__:
        assert getattr(benchgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = benchgen.nothing  # type: ignore[attr-defined]


def test_signatures() -> None:
    assert list(inspect.signature(benchgen.run).parameters) == ["suite", "out", "trust_code"]
    assert list(inspect.signature(benchgen.compare).parameters) == ["a", "b"]
    parameters = inspect.signature(benchgen.score).parameters
    assert list(parameters) == [
        "metric",
        "fake",
        "real",
        "train",
        "test",
        "fake_logits",
        "clusters",
        "groups",
        "real_groups",
        "convention",
        "params",
    ]


def test_every_exception_is_documented_public_and_has_its_exit_code() -> None:
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__
    ]
    assert errors.__doc__ is not None
    for cls in classes:
        assert issubclass(cls, errors.BenchgenError)
        assert cls.__name__ in errors.__doc__
        assert cls.__name__ in benchgen.__all__
    assert {c.__name__: c.exit_code for c in classes if "exit_code" in vars(c)} == {
        "BenchgenError": 3,
        "UsageError": 2,
        "NotComparableError": 4,
    }


def test_importing_benchgen_loads_nothing_heavy() -> None:
    code = (
        "import sys, benchgen; benchgen.hookimpl, benchgen.GeneratorSpec;"
        "heavy = ('torch', 'numpy', 'pandas', 'scipy', 'matplotlib');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LOWER = ("stats", "metrics")
FORBIDDEN = ("host", "images", "features", "runs", "report", "cli", "suite")


def test_metrics_and_stats_know_no_other_room() -> None:
    """Imports, read from the source: metrics and stats stay pure; nothing reaches back."""
    import ast
    from pathlib import Path

    package = Path(inspect.getfile(benchgen)).parent

    def imports(path: Path) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchgen."):
                found.add((node.module or "").split(".")[1])
        return found

    for room in LOWER:
        for path in (package / room).rglob("*.py"):
            assert not imports(path) & set(FORBIDDEN), path
    for room in ("report", "gate"):
        for path in (package / room).rglob("*.py"):
            assert not imports(path) & {"images", "features", "host", "cli"}, path
    for room in ("images", "features"):
        for path in (package / room).rglob("*.py"):
            assert not imports(path) & {"runs", "report", "cli", "suite"}, path
