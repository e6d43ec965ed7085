"""Extractors, measures and metrics that misbehave: named, and the rest of the run is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchgen
from tests.acceptance.conftest import Command
from tests.conftest import InstallPlugin

PLUGIN = """
    import torch
    from benchgen import ExtractorSpec, MeasureSpec, MetricSpec, hookimpl
    from benchgen.features.extractor import Extracted
    from benchgen.metrics.base import Score

    class Extractor:
        d, classes, fingerprint = 4, (), {{"network": "bad"}}
        def __init__(self, device):
            pass
        def __call__(self, images):
            {extract}

    class Measure:
        columns, fingerprint = ("hue",), {{"measure": "bad"}}
        def __call__(self, batch):
            {measure}

    class Metric:
        {state} = {{}}
        def prepare(self, real):
            return None
        def compute(self, prepared, fake):
            {compute}

    @hookimpl
    def benchgen_extractors():
        return [ExtractorSpec(name="bad", factory=__name__ + ":Extractor")]

    @hookimpl
    def benchgen_measures():
        return [MeasureSpec(name="bad", factory=__name__ + ":Measure")]

    @hookimpl
    def benchgen_metrics():
        return [MetricSpec(
            name="bad", factory=__name__ + ":Metric", title="Bad", direction="lower",
        )]
"""
GOOD = {
    "state": "parameters",
    "extract": "return Extracted(images.float().mean((2, 3)).repeat(1, 2)[:, :4])",
    "measure": "return {'hue': [0.5] * len(batch.indices)}",
    "compute": "return {'bad': Score(1.0, torch.zeros(fake.n))}",
}
CASES = {
    "extractor raises": (
        {"extract": "return 1 / 0"},
        "extractor acme/bad raised ZeroDivisionError",
    ),
    "extractor shape": (
        {"extract": "return Extracted(images.float().mean((2, 3)))"},
        "extractor acme/bad returned features of shape (30, 3); expected (30, 4)",
    ),
    "extractor NaN": (
        {"extract": "return Extracted(torch.full((len(images), 4), float('nan')))"},
        "NaN",
    ),
    "measure raises": ({"measure": "return batch.hue"}, "measure acme/bad raised AttributeError"),
    "measure count": (
        {"measure": "return {'hue': [1]}"},
        "measure acme/bad returned 1 values of 'hue' for 30 images",
    ),
    "metric raises": ({"compute": "return fake.rows"}, "acme/bad raised AttributeError"),
    "metric without parameters": (
        {"state": "settings"},
        "metric acme/bad raised AttributeError",
    ),
    "metric NaN": ({"compute": "return {'bad': Score(float('nan'))}"}, "nan"),
}


def arguments(out: Path) -> tuple[str | Path, ...]:
    return (
        *("run", "-g", "static=noise", "-n", "30", "-e", "acme/bad", "--measure", "acme/bad"),
        *("-m", "acme/bad", "-m", "kid", "-o", out),
    )


def test_a_well_behaved_plugin_runs(
    benchgen_command: Command, install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin("acme", PLUGIN.format(**GOOD))
    outcome = benchgen_command(*arguments(tmp_path / "run"))
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run" / "results" / "static.json").read_text())
    assert [e["value"] for e in result["estimates"] if e["metric"] == "bad"] == [1.0]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_plugin_is_named(
    benchgen_command: Command, install_plugin: InstallPlugin, tmp_path: Path, case: str
) -> None:
    change, message = CASES[case]
    install_plugin("acme", PLUGIN.format(**(GOOD | change)))
    # 30 images a batch, so that the messages count them.
    outcome = benchgen_command(*arguments(tmp_path / "run"), "--batch-size", "30")
    assert outcome.code in (2, 3)
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_one_name_from_two_distributions_stays_apart(
    benchgen_command: Command, install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    for name in ("acme", "other"):
        install_plugin(name, PLUGIN.format(**GOOD))
    ids = ("acme/bad", "other/bad")
    several = [part for i in ids for part in ("-m", i, "--measure", i, "-e", i)]
    out = tmp_path / "run"
    outcome = benchgen_command("run", "-g", "static=noise", "-n", "30", *several, "-o", out)
    assert outcome.code == 0, outcome.err
    result = json.loads((out / "results" / "static.json").read_text())
    keys = {(e["metric"], e["extractor"]) for e in result["estimates"]}
    assert keys == {(metric, extractor) for metric in ids for extractor in ids}
    columns = benchgen.Run(out)["static"].columns
    assert {"hue", "hue@other/bad"} <= set(columns)
    titles = [m["title"] for m in json.loads((out / "run.json").read_text())["metrics"]]
    assert titles == ["Bad (acme)", "Bad (other)"]


def test_a_metric_named_twice_is_refused(benchgen_command: Command, tmp_path: Path) -> None:
    twice = ("-m", "kid", "-m", "benchgen/kid", "-e", "pixels", "-o", tmp_path / "run")
    outcome = benchgen_command("run", *twice)
    assert outcome.code == 2
    assert "metrics: kid is named twice" in outcome.err
    suite = tmp_path / "variants.toml"
    suite.write_text(
        'reference = "digits"\nextractors = ["pixels"]\nn = 40\n'
        'metrics = ["precision", {id = "precision", params = {k = 5}}]\n'
    )
    assert benchgen_command("run", suite, "-o", tmp_path / "run").code == 0
    metrics = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert [m["id"] for m in metrics] == ["precision", "precision[k=5]"]
    assert [m["title"] for m in metrics] == ["Precision", "Precision[k=5]"]


def test_a_path_takes_no_parameters(benchgen_command: Command, tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(f'[reference]\nsource = "{tmp_path}"\nparams = {{ split = "test" }}\n')
    outcome = benchgen_command("run", suite)
    assert outcome.code == 2
    assert "reference.params" in outcome.err
