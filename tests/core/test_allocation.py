"""Freed memory is kept within the block, and given back after it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from featx.core.allocation import _glibc, keeping_memory

CODE = """
import contextlib, sys
import numpy as np
from featx.core.allocation import keeping_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

def freed():
    before = resident()
    block = np.ones(100 << 17)  # 100 MiB
    assert resident() > before + 90
    del block
    return resident() - before

found = [freed()]
with keeping_memory():
    with keeping_memory():
        found.append(freed())
    found.append(resident())
start = resident()
found += [start, freed()]
print(*found)
"""


@pytest.mark.skipif(_glibc() is None, reason="the C library is not GNU's")
def test_freed_memory_is_kept_within_the_block_and_given_back_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    plain, kept, within, after, again = map(int, done.stdout.split())
    assert plain < 10
    assert kept > 90
    assert within - after > 90  # an inner block's end gives nothing back
    assert again < 10


def test_an_error_within_the_block_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError), keeping_memory():
        raise ZeroDivisionError
