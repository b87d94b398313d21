"""Blocks of rows side by side: one thread for each, whose kernels use that thread alone.

A pass over the rows is many small operations. Shared out by OpenMP, each of them ends with all threads waiting for the
slowest: on two quiet cores that made a pass slower than one thread takes, and on cores with other work thirty times
slower. Threads that take whole blocks wait for each other once a pass. What blocks give is taken in their order,
so that sums do not depend on the threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from featx.core.lone_threads import lone_pool, one_thread
from featx.probes.products import ALONE_COLUMNS

T = TypeVar("T")
Blocks = Iterator[tuple[slice, Tensor]]
"""Rows and their block, in order."""

Work = Callable[[slice, Tensor], T]
"""Maps rows and their block to what is known of them; must write to nothing that it shares."""

AHEAD = 2
"""So many blocks a thread are begun before the first one's result is taken."""

LEAST_ROWS = 4096
"""So few rows are not shared."""

_sharing = threading.local()
"""How many threads share the blocks where this thread's own kernels do not."""


def in_order(given: Blocks, work: Work[T], *, of: object) -> Iterator[T]:
    """Give what `work` finds of each block, in their order.

    Parameters
    ----------
    given : iterator of (slice, Tensor)
        Blocks of rows.
    work : callable
        Called in any thread.
    of : Tensor or other
        The matrix whose rows they are. What is read from a disk, or lies on a GPU, or has few rows, is not shared.
    """
    threads = _threads_for(of)
    if threads == 1:
        yield from (work(rows, block) for rows, block in given)
        return
    pool, waiting = _pool_of(threads), deque[Future[T]]()
    try:
        for rows, block in given:
            waiting.append(pool.submit(work, rows, block))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _threads_for(X: object) -> int:
    if not isinstance(X, Tensor) or X.device.type != "cpu" or len(X) <= LEAST_ROWS:
        return 1
    return getattr(_sharing, "threads", None) or torch.get_num_threads()


def _is_narrow(X: object) -> bool:
    return isinstance(X, Tensor) and X.shape[1] < ALONE_COLUMNS


@contextmanager
def small_kernels_alone(of: object) -> Iterator[None]:
    """Keep what is computed of few columns, such as their matrix's inverse, within this thread.

    Blocks of the matrix are shared all the same. Where they are not, and where columns are many, nothing changes.
    """
    threads = _threads_for(of)
    if threads == 1 or hasattr(_sharing, "threads") or not _is_narrow(of):
        yield
        return
    _sharing.threads = threads
    try:
        with one_thread():
            yield
    finally:
        del _sharing.threads


class _Pools:
    """Pools by their number of threads; a forked process has none of its parent's threads, and forgets them."""

    def __init__(self) -> None:
        self.held: dict[int, ThreadPoolExecutor] = {}
        self.starting = threading.Lock()


_pools = _Pools()


def _pool_of(threads: int) -> ThreadPoolExecutor:
    """Return as many threads as torch has here, each of which computes alone."""
    with _pools.starting:
        if threads not in _pools.held:
            _pools.held[threads] = lone_pool(threads, "featx-rows")
        return _pools.held[threads]


os.register_at_fork(after_in_child=_pools.__init__)  # type: ignore[misc]
