"""One file that is read in parts, wherever it lies: what archives and Parquet files are read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from featx.core.file_stamps import file_stamp
from featx.data.files import changed, read_at

ReadAt = Callable[[int, int], bytes]
"""Gives so many bytes from an offset on: ``(size, offset)``, as `os.pread` has them."""


class Blob(Protocol):
    """Bytes that are read in parts.

    Attributes
    ----------
    where : str
        What to call it in an error.
    name : str
        The last part of its path.
    folder : str
        What lies above the name.
    stamp : list of int
        What tells that it changed, as `featx.core.file_stamps.file_stamp`.
    in_flight : int
        How many reads should be under way at a time; 0 where waiting for one costs nothing.
    """

    where: str
    name: str
    folder: str
    stamp: list[int]
    in_flight: int

    def is_unchanged(self) -> bool:
        """Tell whether it still is the one that has this stamp."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer where it ends; SourceError where it changed."""

    def open(self) -> IO[bytes]:
        """Return it as a file to read."""

    def reading(self, file: IO[bytes]) -> ReadAt:
        """Return what reads parts of what `open` returned."""


class LocalBlob:
    """A file of this machine; OSError where it is not there."""

    in_flight = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where, self.name, self.folder = str(path), path.name, str(path.parent)
        self.stamp = file_stamp(path)

    def is_unchanged(self) -> bool:
        """Tell whether it still is the one that has this stamp."""
        try:
            return file_stamp(self.path) == self.stamp
        except OSError:
            return False

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer where it ends; SourceError where it changed."""
        return read_at(self.path, self.stamp, offset, size)

    def open(self) -> IO[bytes]:
        """Return it as a file to read; SourceError where it changed."""
        file = self.path.open("rb")
        if file_stamp(file.fileno()) != self.stamp:
            file.close()
            raise changed(self.where)
        return file

    def reading(self, file: IO[bytes]) -> ReadAt:
        """Return what reads parts of what `open` returned: whatever the path leads to by now, it is that file."""
        return lambda size, offset: os.pread(file.fileno(), size, offset)


def as_blob(place: Path | Blob) -> Blob:
    """Return a path's file, and a blob as it is."""
    return LocalBlob(place) if isinstance(place, Path) else place
