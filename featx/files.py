"""Image files in a folder, their content hashes remembered, and what all kinds of files share."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo, file_stamp, is_settled
from featx.errors import ImageError, SourceError

MAX_FILE_BYTES = 1 << 29
"""Largest encoded image that is read, in bytes."""

Hashes = npt.NDArray[np.uint8]


class Files(Protocol):
    """Named bytes."""

    where: str

    def names(self) -> list[str]:
        """Return every file's name, relative, with '/' between folders, sorted; hidden folders may be left out."""

    def read(self, name: str) -> bytes:
        """Return one file's content; ImageError where it cannot be had."""

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each file's content, shape (n, 32)."""


class FolderFiles:
    """The files below a folder.

    A file's hash is remembered under its size, inode and times, so that a second look need not read it and
    yet sees every change. Links to files are followed inside the folder only, links to folders never.
    """

    def __init__(self, root: Path, memo: Memo | None = None) -> None:
        self.where = str(root)
        self._root = root.resolve()
        self._memo = memo

    def names(self) -> list[str]:
        found: list[str] = []
        try:
            for folder, below, files in os.walk(self._root, onerror=_raise):
                prefix = os.path.relpath(folder, self._root).replace(os.sep, "/")
                below[:] = [name for name in below if not name.startswith(".")]
                _refuse_links([os.path.join(folder, name) for name in below])
                found.extend(name if prefix == "." else f"{prefix}/{name}" for name in files)
        except OSError as exc:
            raise SourceError(f"folder {self.where} cannot be read: {exc.strerror}", str(exc.filename)) from exc
        return sorted(found)

    def _path(self, name: str) -> Path:
        path = self._root / name
        if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(self._root):
            raise ImageError(f"image {name} is a link that leads out of {self.where}", "copy the file instead")
        return path

    def _stamp(self, name: str) -> list[int] | None:
        try:
            return file_stamp(self._path(name))
        except (OSError, ImageError):
            return None

    def read(self, name: str) -> bytes:
        return _read_file(self._path(name), name, self.where)

    def hashes(self, names: Sequence[str]) -> Hashes:
        about = {"folder": str(self._root)}
        known: dict[str, Any] = (self._memo.get("folder", about) if self._memo else None) or {}
        stamps = [self._stamp(name) for name in names]
        stale = [n for n, stamp in zip(names, stamps, strict=True) if known.get(n, [None])[0] != stamp or not stamp]
        fresh = dict(zip(stale, hash_all(self, stale), strict=True))
        digests = [fresh[n] if n in fresh else known[n][1] for n in names]
        settled = {
            n: [stamp, fresh[n]]
            for n, stamp in zip(names, stamps, strict=True)
            # Not remembered: what could not be read, what changed while it was hashed, or could again within
            # its clock's tick.
            if fresh.get(n, UNREADABLE) != UNREADABLE and stamp and is_settled(stamp) and self._stamp(n) == stamp
        }
        if self._memo and settled:
            self._memo.put("folder", about, known | settled)
        return as_rows(digests)


class PathFiles:
    """Single files, named by the paths they were given as."""

    where = "the given paths"

    def names(self) -> list[str]:
        return []

    def read(self, name: str) -> bytes:
        return _read_file(Path(name), name, self.where)

    def hashes(self, names: Sequence[str]) -> Hashes:
        return as_rows(hash_all(self, names))


UNREADABLE = hashlib.sha256(b"featx: unreadable").hexdigest()
"""Stands for the content of a file that cannot be read; decoding it then says why."""


def hash_all(files: Files, names: Sequence[str], threads: int | None = None) -> list[str]:
    """Read every file and return its SHA-256 in hexadecimal, or `UNREADABLE`."""

    def one(name: str) -> str:
        try:
            return hashlib.sha256(files.read(name)).hexdigest()
        except ImageError:
            return UNREADABLE

    if threads == 1 or len(names) < 64:
        return [one(name) for name in names]
    with ThreadPoolExecutor(threads or min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(one, names, chunksize=64))


def as_rows(digests: Iterable[str]) -> Hashes:
    """Return hexadecimal digests as uint8, shape (n, 32)."""
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32)


def _read_file(path: Path, name: str, where: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ImageError(f"image {name} is no ordinary file", f"look at {where}")
        check_size(name, status.st_size)
        return path.read_bytes()
    except OSError as exc:
        raise ImageError(f"image {name} cannot be read: {exc.strerror}", f"look at {where}") from exc


def check_size(name: str, size: int) -> None:
    """Raise ImageError for an encoded image that is too large to be read."""
    if size > MAX_FILE_BYTES:
        raise ImageError(f"image {name} has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read", "use --on-error skip")


def read_at(path: Path, stamp: Sequence[int], offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` on, fewer where the file ends.

    Opened for each read: nothing is shared between threads or processes. Plain calls, because reading a
    memory-mapped file that another program cuts short kills the process.

    Raises
    ------
    SourceError
        The file is no longer the one with this stamp.
    OSError
    """
    with path.open("rb", buffering=0) as file:
        if file_stamp(file.fileno()) != list(stamp):
            raise changed(str(path))
        file.seek(offset)
        data = bytearray()
        while len(data) < size and (more := file.read(size - len(data))):  # one call gives at most 2 GB
            data += more
    return bytes(data)


def changed(where: str) -> SourceError:
    """Return the error for a file whose remembered listing or hashes hold no more."""
    return SourceError(f"{where} changed while featx was reading it", "run it again")


def _refuse_links(folders: list[str]) -> None:
    for folder in folders:
        if os.path.islink(folder):  # a class must not be left out unseen
            raise SourceError(
                f"folder {folder} is a link, and links to folders are not followed",
                "copy the folder instead, or remove the link",
            )


def _raise(error: OSError) -> None:
    raise error
