"""Benchmarks are scripts beside each other, no package: how tests import them."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    """The module of a script, which finds its neighbours as it does when it is run."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return import_module(name)


def contestants(benchmark: Any) -> list[tuple[Any, Any]]:
    """Every claim with each of its contestants."""
    return [(claim, one) for claim in benchmark.claims for one in claim.contestants]


def is_installed(contestant: str) -> bool:
    """Whether the distribution that a contestant is named after can be imported."""
    package = contestant.split(",")[0]
    module = {"clean-fid": "cleanfid"}.get(package, package.replace("-", "_"))
    return importlib.util.find_spec(module) is not None
