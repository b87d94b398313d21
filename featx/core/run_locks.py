"""Who is working in a run's folder: a lock that the system lets go of when its process dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from featx.core import atomic
from featx.core.run_folder import Run

LOCK_FILE = "lock"

YOUNG_SECONDS = 60.0
"""A folder that is younger, and holds neither lock nor record, may be that of a run which is about to begin."""


@contextmanager
def held(run: Run) -> Iterator[bool]:
    """Hold a run's folder as long as its work lives; gives False where another process does.

    Raises
    ------
    DiskFullError, StoreError
        The folder cannot be written.
    """
    path = run.path / LOCK_FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise atomic.storage_error(path, exc) from exc
    try:
        yield _taken(fd)
    finally:
        os.close(fd)
        with suppress(OSError):
            if run.is_recorded:
                path.unlink(missing_ok=True)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def in_use(run: Run) -> bool:
    """Tell whether a process works in a run's folder, or may be about to."""
    try:
        fd = os.open(run.path / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return not run.is_recorded and _is_young(run)
    try:
        return not _taken(fd)
    finally:
        os.close(fd)


def _is_young(run: Run) -> bool:
    with suppress(OSError):
        return time.time() - os.lstat(run.path).st_mtime < YOUNG_SECONDS
    return False
