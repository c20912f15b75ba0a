"""Freed memory of training stays with the process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from ssltoolkit.training.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(60):
    tensor = torch.ones(9 << 20)  # 36 MB, more than the largest size that glibc keeps of itself
    del tensor
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt's options are glibc's")
def test_memory_is_not_cleared_anew():
    faults = {}
    for mode in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
        faults[mode] = int(done.stdout)
    assert faults["keep"] < faults["leave"] / 2  # the first allocations still grow the heap
