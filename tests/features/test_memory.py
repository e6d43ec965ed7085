"""Memory that networks free stays with the process, until it is released."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from benchgen.features.memory import keep_freed_memory

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")


@gnu
def test_freed_memory_is_used_again() -> None:
    """Large blocks, made and freed over and over, cost page faults once."""
    code = """
import resource, sys, torch
from benchgen.features.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def touch():
    torch.ones(64 * 2**20, dtype=torch.uint8)
for _ in range(20):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", code, mode], text=True))
        for mode in ("keep", "default")
    }
    keep_freed_memory()  # twice is as good as once
    if faults["default"] < 10_000:
        pytest.skip("this C library keeps freed memory of itself")
    assert faults["keep"] < faults["default"] / 5


@gnu
def test_what_was_kept_can_be_released() -> None:
    code = """
import resource, torch
from benchgen.features.memory import keep_freed_memory, release_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20
keep_freed_memory()
blocks = [torch.ones(2**20, dtype=torch.uint8) for _ in range(256)]
del blocks
before = resident()
release_freed_memory()
print(before - resident())
"""
    released = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert released > 200  # MiB of 256
