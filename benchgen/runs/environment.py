"""What a run runs on, and what it took."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchgen.errors import SuiteError

_PACKAGES = ("benchgen", "torch", "torchvision", "torch-fidelity", "numpy", "scipy", "pillow")


def environment() -> dict[str, str]:
    """Versions of Python, the platform and the packages that decide numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def peak_rss_bytes() -> int | None:
    """Peak resident memory of this process in bytes, since ``forget_peaks`` or the start.

    None where it cannot be read.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peaks() -> None:
    """Let the peaks of memory begin anew with what is in use now; the process's only on Linux."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resolve_device(wanted: str) -> str:
    """``"auto"`` is a GPU where there is one.

    Raises:
        SuiteError: If the device is not to be had.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise SuiteError(f"execution.device: {wanted!r} is not to be had: {error}") from None
    return wanted
