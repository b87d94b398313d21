"""Memory that is kept for the next batch instead of being given back after each.

A batch's activations are arrays of many megabytes. glibc gives each back to the system when it is freed, and the next
one comes page by page, filled with zeros: at 224 px a sixth of the time of a forward pass on the CPU (CONTRIBUTING.md,
Figures).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Parameters of mallopt(3), and what they are by default.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_BY_DEFAULT = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}

_lock = threading.Lock()
_blocks: list[object] = []
"""One for each block that is under way: threads may extract at once, and the last one to end gives memory back."""


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Let this process keep the memory that it frees, until the block ends; without glibc nothing changes."""
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _blocks.append(libc)
        _set(libc, _KEEPING)
    try:
        yield
    finally:
        with _lock:
            _blocks.pop()
            if not _blocks:
                _set(libc, _BY_DEFAULT)
                libc.malloc_trim(0)


def _set(libc: Any, parameters: dict[int, int]) -> None:
    for parameter, value in parameters.items():
        libc.mallopt(parameter, value)


def _glibc() -> Any | None:
    """Return the C library of this process, where it is GNU's."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError on Windows
        return None
    return libc if all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
