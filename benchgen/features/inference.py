"""A network made ready for inference: the same numbers up to rounding, in less time."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from benchgen.arithmetic import exact_float32

_ROUNDING = 1e-4
"""Folding may move an output by this share of the largest; more means that it went wrong."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30


def for_inference(network: nn.Module, example: Tensor, device: str | torch.device) -> nn.Module:
    """Fold batch norms into convolutions, lay out by channels last, and move to the device.

    On a CPU the activations of one image after another then pass through memory that stays with
    the process; a network without convolutions is none the worse for it.

    Args:
        network: Left as it is.
        example: An input that it takes, float32 ``[b, 3, H, W]``: shows whether folding may be
            trusted. Where it cannot be done or changes the output, nothing is folded.
        device: Where the network will run.

    Returns:
        A network for inputs in ``torch.channels_last`` (others are accepted, more slowly).
    """
    network = network.eval().requires_grad_(False)
    keep_freed_memory()
    ready = _folded(network, example)
    return ready.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next batch instead of handing it back.

    Activations are large and short-lived. Each time their memory comes fresh from the system, it
    has to be cleared page by page, which takes up to a third of the time of a network on a CPU.
    Does nothing where the C library is not GNU's.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - absent from other C libraries
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _folded(network: nn.Module, example: Tensor) -> nn.Module:
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    try:
        folded = fuse(network)
    except (fx.proxy.TraceError, TypeError, ValueError, AttributeError, NotImplementedError):
        return network  # control flow that depends on the data
    with torch.inference_mode(), exact_float32():
        before, after = network(example), folded(example)
    apart = (after - before).abs().max()
    return folded if bool(apart <= _ROUNDING * before.abs().max()) else network
