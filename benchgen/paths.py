"""Where benchgen keeps what it can fetch again, and whether it may fetch at all."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder (it need not exist yet).

    ``BENCHGEN_CACHE`` names it; else it is ``benchgen`` in ``XDG_CACHE_HOME`` where that is an
    absolute path, else ``~/.cache/benchgen``, on every platform.
    """
    if own := os.environ.get("BENCHGEN_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "benchgen"


def offline() -> bool:
    """Whether ``BENCHGEN_OFFLINE`` forbids downloads (1, true, yes or on)."""
    return os.environ.get("BENCHGEN_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}
