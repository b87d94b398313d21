"""Files that a user names for a result: also where that is a device, a pipe or a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from featx.core import atomic
from featx.errors import StoreError


def write_output(path: Path, data: bytes) -> None:
    """Write a result to the file that a user named, wholly or not at all.

    A device or a pipe is written to and never replaced by a file; of a link, what it points to is written.

    Raises
    ------
    DiskFullError, StoreError
        It cannot be written.
    """
    try:
        if _is_special(path):
            _write_through(path, data)
        else:
            atomic.write_bytes(Path(os.path.realpath(path)), data)
    except StoreError as exc:
        raise type(exc)(exc.message, "choose another place for the file") from exc


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _write_through(path: Path, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            atomic.write_all(fd, data)
        finally:
            os.close(fd)
    except OSError as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        raise atomic.storage_error(path, exc, len(data)) from exc
