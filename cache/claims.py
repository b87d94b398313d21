"""Who works on which block of a key: advisory locks that save work and never guard correctness."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 600.0
"""Time without any progress of the other processes after which their work is done again here."""

HELD = (errno.EAGAIN, errno.EACCES)
"""What the system says of a lock that another process has."""


class Claims:
    """Byte ranges of one lock file, a byte a block.

    POSIX record locks: the system lets go of them when their process dies, children do not inherit them, and they
    work across machines where the file system can lock at all. Where it cannot, every claim is granted: work may be
    done twice then, and receipts still tell which bytes count.

    Parameters
    ----------
    path : Path
        The lock file; made where it is absent.
    """

    def __init__(self, path: Path) -> None:
        self._fd = -1
        with suppress(OSError):  # a store that cannot be written says so at its first shard
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def take(self, block: int) -> bool:
        """Claim a block; False where another process has it."""
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, block)

    def drop(self, block: int) -> None:
        """Let go of a block."""
        self._lock(fcntl.LOCK_UN, block)

    def close(self) -> None:
        """Let go of everything."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self, how: int, block: int) -> bool:
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, how, 1, block)
        except OSError as exc:
            return exc.errno not in HELD
        return True
