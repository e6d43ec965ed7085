"""The contestants from two folders to FID: each tool as its users run it, but for the weights."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import scipy.linalg
from claims import Values, Work
from extraction_inputs import Inputs, list_images
from PIL import Image

BATCH = 64
"""Images that torchmetrics is given at once, which leaves that to its users."""


def benchgen_run(
    rule: str,
    *metrics: str,
    noise: bool = False,
    device: str = "cpu",
    arithmetic: str = "float32",
) -> Callable[[Inputs], Work]:
    """A suite's run with its report, beginning with an empty store.

    The row of noise is a third set of images, which no other tool has; it is there if asked for.
    """

    def load(inputs: Inputs) -> Work:
        from benchgen import run
        from benchgen.report import build  # what a run imports late

        del build
        network = {"resize": rule, "arithmetic": arithmetic}
        suite = _suite(inputs, network, metrics, noise, device)

        def work() -> Values:
            with _empty_store() as folder:
                row = run(suite, folder / "run")["fake"]
                return {name: _known(row.record(name).value) for name in metrics}

        return work

    return load


def torch_fidelity(inputs: Inputs, device: str = "cpu") -> Work:
    from torch_fidelity import calculate_metrics

    def work() -> Values:
        found = calculate_metrics(
            input1=str(inputs.fake),
            input2=str(inputs.real),
            fid=True,
            cuda=device != "cpu",
            feature_extractor_weights_path=str(inputs.weights),
        )
        return {"fid": found["frechet_inception_distance"]}

    return work


def pytorch_fid(inputs: Inputs) -> Work:
    import torch
    from pytorch_fid import fid_score  # type: ignore[import-untyped]
    from pytorch_fid import inception as module

    # Its command's own defaults.
    workers = min(len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1, 8)

    def answer(*_: Any, **__: Any) -> Any:
        return torch.load(inputs.weights, weights_only=True)

    def work() -> Values:
        with (
            mock.patch.object(module, "load_state_dict_from_url", answer),
            mock.patch.object(fid_score, "linalg", _LINALG),
        ):
            paths = [str(inputs.fake), str(inputs.real)]
            found = fid_score.calculate_fid_given_paths(paths, 50, "cpu", 2048, workers)
            return {"fid": float(found)}

    return work


def clean_fid(inputs: Inputs) -> Work:
    import torch
    from cleanfid import features, fid  # type: ignore[import-untyped]

    network = features.InceptionV3W

    def local(path: str, download: bool, resize_inside: bool) -> Any:
        return network(str(inputs.folder), download=False, resize_inside=resize_inside)

    def work() -> Values:
        with (
            mock.patch.object(features, "InceptionV3W", local),
            mock.patch.object(fid, "linalg", _LINALG),
        ):
            device = torch.device("cpu")
            found = fid.compute_fid(str(inputs.fake), str(inputs.real), mode="clean", device=device)
            return {"fid": float(found)}

    return work


def torchmetrics(inputs: Inputs) -> Work:
    """Fed batches that Pillow decodes, as its users' loops would."""
    import numpy as np
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    def batches(folder: Path) -> Iterator[torch.Tensor]:
        files = list_images(folder)
        for start in range(0, len(files), BATCH):
            opened = (Image.open(path).convert("RGB") for path in files[start : start + BATCH])
            yield torch.from_numpy(np.stack([np.array(image) for image in opened])).movedim(3, 1)

    def work() -> Values:
        metric = FrechetInceptionDistance(feature_extractor_weights_path=str(inputs.weights))
        with torch.no_grad():
            for real, folder in ((True, inputs.real), (False, inputs.fake)):
                for batch in batches(folder):
                    metric.update(batch, real=real)
        return {"fid": float(metric.compute())}

    return work


def _suite(
    inputs: Inputs, network: dict[str, str], metrics: Sequence[str], noise: bool, device: str
) -> Any:
    from benchgen.suite import Suite

    weights = {"weights": str(inputs.weights), "weights_sha256": inputs.sha256}
    fields = {
        "reference": {"source": str(inputs.real), "real": "none"},
        "generators": [{"source": str(inputs.fake), "name": "fake"}],
        "noise": noise,
        "n": inputs.n,
        "extractors": [{"id": "inception", "params": {**weights, **network}}],
        "metrics": list(metrics),
        "execution": {"device": device},
    }
    return Suite.model_validate(fields)


@contextmanager
def _empty_store() -> Iterator[Path]:
    """A folder whose ``cache``, empty at first, benchgen keeps everything in."""
    with tempfile.TemporaryDirectory() as name:
        cache = str(Path(name, "cache"))
        with mock.patch.dict(os.environ, {"BENCHGEN_CACHE": cache, "BENCHGEN_OFFLINE": "1"}):
            yield Path(name)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _sqrtm(matrix: Any, disp: bool = True) -> Any:
    """scipy's, with the argument that newer versions of it have dropped."""
    if "disp" in inspect.signature(scipy.linalg.sqrtm).parameters:
        return scipy.linalg.sqrtm(matrix, disp=disp)
    root = scipy.linalg.sqrtm(matrix)
    return root if disp else (root, 0.0)


_LINALG = SimpleNamespace(sqrtm=_sqrtm)
_HAS_AFFINITY = hasattr(os, "sched_getaffinity")
