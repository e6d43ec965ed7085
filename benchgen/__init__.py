"""benchgen: evaluate image generators, with honest uncertainty.

The public names below are loaded when first used; importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchgen.version import __version__

_WHERE = {
    "BenchgenError": "benchgen.errors",
    "Estimate": "benchgen.stats.estimates",
    "ExtractorSpec": "benchgen.host.specs",
    "GeneratorError": "benchgen.errors",
    "GeneratorSpec": "benchgen.host.specs",
    "ImageError": "benchgen.errors",
    "MeasureSpec": "benchgen.host.specs",
    "MetricError": "benchgen.errors",
    "MetricSpec": "benchgen.host.specs",
    "NotComparableError": "benchgen.errors",
    "PluginError": "benchgen.errors",
    "ReferenceSpec": "benchgen.host.specs",
    "Result": "benchgen.runs.directory",
    "Run": "benchgen.runs.directory",
    "SampleBatch": "benchgen.images.generated",
    "StoreError": "benchgen.errors",
    "Suite": "benchgen.suite",
    "SuiteError": "benchgen.errors",
    "TrainerSpec": "benchgen.host.specs",
    "TrainingJob": "benchgen.training.job",
    "UnknownIdError": "benchgen.errors",
    "UsageError": "benchgen.errors",
    "WeightsError": "benchgen.errors",
    "accept_baseline": "benchgen.accepting",
    "audit": "benchgen.auditing",
    "compare": "benchgen.runs.comparison",
    "hookimpl": "benchgen.host.hookspecs",
    "run": "benchgen.evaluation",
    "run_gate": "benchgen.gating",
    "score": "benchgen.runs.scoring",
    "train": "benchgen.training.train",
}

__all__ = [*_WHERE, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from benchgen.accepting import accept_baseline as accept_baseline
    from benchgen.auditing import audit as audit
    from benchgen.errors import BenchgenError as BenchgenError
    from benchgen.errors import GeneratorError as GeneratorError
    from benchgen.errors import ImageError as ImageError
    from benchgen.errors import MetricError as MetricError
    from benchgen.errors import NotComparableError as NotComparableError
    from benchgen.errors import PluginError as PluginError
    from benchgen.errors import StoreError as StoreError
    from benchgen.errors import SuiteError as SuiteError
    from benchgen.errors import UnknownIdError as UnknownIdError
    from benchgen.errors import UsageError as UsageError
    from benchgen.errors import WeightsError as WeightsError
    from benchgen.evaluation import run as run
    from benchgen.gating import run_gate as run_gate
    from benchgen.host.hookspecs import hookimpl as hookimpl
    from benchgen.host.specs import ExtractorSpec as ExtractorSpec
    from benchgen.host.specs import GeneratorSpec as GeneratorSpec
    from benchgen.host.specs import MeasureSpec as MeasureSpec
    from benchgen.host.specs import MetricSpec as MetricSpec
    from benchgen.host.specs import ReferenceSpec as ReferenceSpec
    from benchgen.host.specs import TrainerSpec as TrainerSpec
    from benchgen.images.generated import SampleBatch as SampleBatch
    from benchgen.runs.comparison import compare as compare
    from benchgen.runs.directory import Result as Result
    from benchgen.runs.directory import Run as Run
    from benchgen.runs.scoring import score as score
    from benchgen.stats.estimates import Estimate as Estimate
    from benchgen.suite import Suite as Suite
    from benchgen.training.job import TrainingJob as TrainingJob
    from benchgen.training.train import train as train


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'benchgen' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
