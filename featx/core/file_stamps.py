"""What tells that a file may have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

SETTLED_SECONDS = 2.0
"""Age from which a file's times can tell a later write: above the resolution of common file systems."""


def file_stamp(path: str | os.PathLike[str] | int) -> list[int]:
    """Return ``[size in bytes, inode, mtime in ns, ctime in ns]`` of a path or an open descriptor."""
    status = os.stat(path)
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def notes_mapped_writes(path: Path) -> bool:
    """Write back what programs changed in a file through memory maps, so that the next such change gives it new times.

    Until the system has written a page back, a program that has it mapped (``numpy.memmap``) may keep changing it
    under the times of the first change. False where no such change is ever noted: in a file system that lies in
    memory, or where that cannot be told.
    """
    try:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            device = os.fstat(file.fileno()).st_dev
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {fields[fields.index("-") + 1] for fields in mounts if fields[2] == number}
    return not kinds & {"tmpfs", "ramfs"}


def is_settled(stamp: Sequence[int]) -> bool:
    """Tell whether a later write would change the stamp.

    While a file is younger than the clock's resolution, a second write can leave the same times behind
    (git calls such files racy): nothing about it may be remembered yet.
    """
    newest = max(stamp[2], stamp[3])
    return time.time_ns() - newest >= SETTLED_SECONDS * 1e9
