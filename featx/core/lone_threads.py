"""Threads each of which computes alone: torch's kernels run in the thread that calls them, and wait for no other.

Kernels that share their work out by OpenMP end with all threads waiting for the slowest; where each takes little time,
waiting is most of it, and beside other work on the same cores nearly all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

_STARTING = threading.Lock()


def lone_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of running threads, each of which computes alone; torch's number of threads here stays."""
    with _STARTING:
        before, together = torch.get_num_threads(), threading.Barrier(threads + 1)
        pool = ThreadPoolExecutor(threads, name, initializer=_compute_alone)
        for _ in range(threads):
            pool.submit(together.wait)
        together.wait()
        torch.set_num_threads(before)  # what the initializers said holds for threads that begin later, too
        return pool


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch's kernels within the calling thread as long as the block lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compute_alone() -> None:
    """Keep a new thread's kernels within it; asked first, so that torch does not set its number anew later."""
    torch.get_num_threads()
    torch.set_num_threads(1)
