"""The bundled models' images and scores do not depend on the batch size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import benchgen
from benchgen.host.loader import host
from benchgen.images.generated import GeneratedSource
from benchgen.suite import DEFAULT_METRICS, Suite

SIZES = (1, 7, 256)
MODELS = ("mnist-vae", "mnist-gan")


def images(model: str, batch_size: int, order: list[int]) -> Tensor:
    source = GeneratedSource(host().find("generator", model), {}, seed=0)
    batches = list(source.read(order, batch_size))
    rows = torch.cat([batch.images for batch in batches])
    where = torch.cat([batch.indices for batch in batches])
    return rows[torch.argsort(where)].int()


@pytest.mark.parametrize("model", MODELS)
def test_images(model: str) -> None:
    straight = list(range(256))
    standard = images(model, 256, straight)
    for batch_size in SIZES:
        for order in (straight, straight[::-1]):
            difference = (images(model, batch_size, order) - standard).abs()
            assert difference.max() <= 1
            assert (difference > 0).double().mean() <= 0.001


def test_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {}
    for batch_size in SIZES:
        monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / f"cache-{batch_size}"))
        suite = Suite.bundled().replace(
            n=300,
            execution={"batch_size": batch_size},
            measures=[],
            metrics=list(DEFAULT_METRICS),
            generators=list(MODELS),
        )
        results[batch_size] = benchgen.run(suite, tmp_path / f"run-{batch_size}")
    for row in MODELS:
        for metric in ("fid", "fid-corrected", "kid", "is"):
            standard = results[256][row].record(metric)
            assert standard.value is not None
            assert standard.stderr is not None
            for batch_size in (1, 7):
                value = results[batch_size][row].record(metric).value
                assert value is not None
                assert abs(value - standard.value) < standard.stderr / 1000
        for metric in ("precision", "recall", "coverage"):
            standard = results[256][row].record(metric)
            counted = standard.n if metric == "precision" else standard.m
            assert standard.value is not None
            for batch_size in (1, 7):
                value = results[batch_size][row].record(metric).value
                assert value is not None
                assert round(abs(value - standard.value) * (counted or 0)) <= 2
