"""Exact float32 arithmetic: the mode of extractors, and the products that metrics spend time in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute matrix products and convolutions in full float32: no TF32, no bfloat16.

    The switches are global to the process. They are put back afterwards, so that benchgen
    leaves a caller's own choice alone.
    """
    switches = _switches()
    before = [getattr(owner, switch) for owner, switch, _ in switches]
    try:
        for owner, switch, exact in switches:
            setattr(owner, switch, exact)
        yield
    finally:
        for (owner, switch, _), value in zip(switches, before, strict=True):
            setattr(owner, switch, value)


def products(x: Tensor, y: Tensor) -> Tensor:
    """The product of every row of ``x`` ``[n, d]`` with every row of ``y`` ``[m, d]``: ``[n, m]``.

    Of float32 rows in full float32, whatever the process is set to; on a CPU by oneDNN where torch
    has it, which takes half the time of torch's BLAS on some processors.
    """
    with exact_float32():
        nothing = 0 in (x.numel(), y.numel())
        if x.device.type == "cpu" and x.dtype == torch.float32 and not nothing and _has_onednn():
            made: Tensor = nn.functional.linear(x.to_mkldnn(), y.to_mkldnn()).to_dense()
            return made
        return x @ y.T


@cache
def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _switches() -> list[tuple[Any, str, str | bool]]:
    """Each switch as owner, attribute, and the value that means exact."""
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        matmuls = [backends.cuda.matmul, backends.mkldnn.matmul]
        convolutions = [backends.cudnn.conv, backends.mkldnn.conv]
        return [(owner, "fp32_precision", "ieee") for owner in matmuls + convolutions]
    # Before torch 2.9.
    return [(owner, "allow_tf32", False) for owner in (backends.cuda.matmul, backends.cudnn)]
