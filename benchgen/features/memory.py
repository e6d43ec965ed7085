"""Memory that networks free: kept for their next batch, and handed back when they rest."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next batch instead of handing it back.

    Activations are large and short-lived. Each time their memory comes fresh from the system, it
    has to be cleared page by page, which takes up to a third of the time of a network on a CPU.
    Does nothing where the C library is not GNU's.
    """
    if library := _gnu_c_library():
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def release_freed_memory() -> None:
    """Hand what was kept back to the system, after the last batch of many.

    Does nothing where the C library is not GNU's.
    """
    if library := _gnu_c_library():
        library.malloc_trim(0)


@cache
def _gnu_c_library() -> Any:
    """The C library of this process; None where it is another's."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - absent from other C libraries
        return library
    return None
