"""The arithmetic mode of extractors: exact float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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


def _switches() -> list[tuple[Any, str, str | bool]]:
    """Each switch as owner, attribute, and the value that means exact."""
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        matmuls = [backends.cuda.matmul, backends.mkldnn.matmul]
        convolutions = [backends.cudnn.conv, backends.mkldnn.conv]
        return [(owner, "fp32_precision", "ieee") for owner in matmuls + convolutions]
    # Before torch 2.9.
    return [(owner, "allow_tf32", False) for owner in (backends.cuda.matmul, backends.cudnn)]
