"""Image files in a folder, their content hashes remembered, and what all kinds of files share."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import is_unreadable, unreadable
from featx.core.file_stamps import file_stamp, is_settled
from featx.data.depth import DIGEST, content_digest
from featx.data.hash_table import FileMemory, FileTable, FileTags, Stamps, tags
from featx.data.litter import is_litter
from featx.errors import ImageError, SourceError

MAX_FILE_BYTES = 1 << 29
"""Largest encoded image that is read, in bytes."""

Hashes = npt.NDArray[np.uint8]
_WORD = (1 << 64) - 1


class Files(Protocol):
    """Named bytes.

    Attributes
    ----------
    where : str
        What to call the place in an error.
    in_flight : int
        How many reads should be under way at a time; 0 where waiting for one costs nothing.
    """

    where: str
    in_flight: int

    def names(self) -> list[str]:
        """Return every file's name, relative, with '/' between folders, sorted; hidden folders may be left out."""

    def read(self, name: str) -> bytes:
        """Return one file's content; ImageError where it cannot be had."""

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each file's content, shape (n, 32)."""


class FolderFiles:
    """The files below a folder.

    A file's hash is remembered under its name, size, inode and times, so that a second look need not read it and
    yet sees every change. Links are followed inside the folder only, to files and to folders; what lies in a linked
    folder goes by the link's name.
    """

    in_flight = 0

    def __init__(self, root: Path, memo: Memo | None = None) -> None:
        self.where = str(root)
        self._root = root.resolve()
        self._base = str(self._root)
        self._memo = memo
        self._inside: dict[str, bool] = {}
        self.empty: list[str] = []
        """Folders without any file, as `names` found them, each with a ``/`` at its end."""
        self._listed: FileTags | None = None

    def names(self) -> list[str]:
        """Return every file's name, without what programs leave behind (see `is_litter`).

        Raises
        ------
        SourceError
            For a folder that cannot be read, and for a link to a folder outside, or to a parent.
        """
        found: list[str] = []
        self.empty = []
        try:
            self._list("", (str(self._root),), found)
        except OSError as exc:
            raise SourceError(f"folder {self.where} cannot be read: {exc.strerror}", str(exc.filename)) from exc
        found.sort()
        self._listed = tags(found) if self._memo else None
        return found

    def _list(self, prefix: str, around: tuple[str, ...], found: list[str]) -> None:
        """Add the names below one folder; `around` are the real folders that the way to it led through."""
        with os.scandir(os.path.join(self._root, prefix)) as entries:
            below: list[str] = []
            files: list[str] = []
            for entry in entries:
                if not is_litter(entry.name):
                    (below if _is_folder(entry) else files).append(prefix + entry.name)
        found += files
        if prefix and not below and not files:
            self.empty.append(prefix)
        for name in below:
            real = self._real_folder(name, around)
            self._list(name + "/", (*around, real), found)

    def _real_folder(self, name: str, around: tuple[str, ...]) -> str:
        path = os.path.join(self._root, name)
        # A class must not be left out unseen, and not be counted twice without end.
        hint = "copy the folder instead, or remove the link"
        real = os.path.join(around[-1], name.rpartition("/")[2])
        if os.path.islink(path):
            real = os.path.realpath(path)
            if not Path(real).is_relative_to(self._root):
                raise SourceError(f"folder {path} is a link that leads out of {self.where}", hint)
        if real in around:
            raise SourceError(f"folder {path} contains a link to itself", hint)
        return real

    def path(self, name: str) -> Path:
        """Return where a file is; ImageError if links lead out of the folder."""
        return Path(self._place(name))

    def _place(self, name: str) -> str:
        # Text instead of a Path, and the folder looked at once: this is asked for a million files.
        folder = name.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = Path(os.path.realpath(self._root / folder)).is_relative_to(self._root)
        if not self._inside[folder]:
            raise ImageError(
                f"image {name} lies behind a link that leads out of {self.where}",
                "copy the files instead",
                reason=f"image {name} lies behind a link that leads out of its folder",
            )
        path = f"{self._base}/{name}"
        if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(self._root):
            raise ImageError(
                f"image {name} is a link that leads out of {self.where}",
                "copy the file instead",
                reason=f"image {name} is a link that leads out of its folder",
            )
        return path

    def read(self, name: str) -> bytes:
        """Return a file's content; ImageError where it cannot be had."""
        return _read_file(self._place(name), name, self.where)

    def head(self, name: str, size: int) -> bytes:
        """Return a file's first bytes; none where they cannot be had."""
        try:
            path = self.path(name)
            if not stat.S_ISREG(path.stat().st_mode):
                return b""
            with path.open("rb", buffering=0) as file:
                return file.read(size)
        except (OSError, ImageError):
            return b""

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each file's content, uint8 (n, 32); files whose hash is remembered are not read."""
        about = {"folder": str(self._root), "digest": DIGEST}
        known = FileMemory(self._memo, about, self._listed)
        seen, stamps = tags(names), self._stamps(names)
        found, missing = known.look_up(seen, stamps)
        if len(missing):
            found[missing] = hash_all(self, [names[i] for i in missing])
        if self._memo:
            settled = (self._is_settled(names[i], stamps[i], found[i]) for i in missing)
            keep = missing[np.fromiter(settled, bool, len(missing))]
            known.update(FileTable(seen[keep], stamps[keep], found[keep]))
        return found

    def _stamps(self, names: Sequence[str]) -> Stamps:
        stamps = np.zeros((len(names), 4), np.uint64)
        for i, name in enumerate(names):
            stamps[i] = self._stamp(name)
        return stamps

    def _stamp(self, name: str) -> tuple[int, ...]:
        try:
            stamp = file_stamp(self._place(name))
            return stamp[0] & _WORD, stamp[1] & _WORD, stamp[2] & _WORD, stamp[3] & _WORD
        except (OSError, ImageError):
            return (0, 0, 0, 0)

    def _is_settled(self, name: str, stamp: npt.NDArray[np.uint64], digest: npt.NDArray[np.uint8]) -> bool:
        """Tell whether a hash may be remembered.

        Not what could not be read, what changed while it was hashed, or could again within its clock's tick.
        """
        if not stamp.any() or is_unreadable(digest[None])[0]:
            return False
        return is_settled(stamp.view(np.int64).tolist()) and self._stamp(name) == tuple(stamp.tolist())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


class PathFiles:
    """Single files, named by the paths they were given as."""

    where = "the given paths"
    in_flight = 0

    def names(self) -> list[str]:
        """Return nothing: files are read by the paths that they were given as."""
        return []

    def read(self, name: str) -> bytes:
        """Return a file's content; ImageError where it cannot be had."""
        return _read_file(str(Path(name)), name, self.where)

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each file's content, uint8 (n, 32)."""
        return hash_all(self, names)


_TASK = 64
"""Files that a thread hashes at one go; fewer where each waits for a server."""


def hash_all(files: Files, names: Sequence[str], threads: int | None = None) -> Hashes:
    """Read every file and return its SHA-256, or what stands for it (`unreadable`), shape (n, 32)."""

    def some(start: int) -> bytes:
        return b"".join(_digest(files, name) for name in names[start : start + task])

    task = 1 if files.in_flight else _TASK
    starts = range(0, len(names), task)
    if threads == 1 or len(starts) <= 1:
        found = b"".join(map(some, starts))
    else:
        with ThreadPoolExecutor(threads or min(16, 2 * (os.cpu_count() or 1))) as pool:
            found = b"".join(pool.map(some, starts))
    return np.frombuffer(found, np.uint8).reshape(-1, 32)


def _digest(files: Files, name: str) -> bytes:
    try:
        return content_digest(files.read(name))
    except ImageError as exc:
        return unreadable(exc.reason)


def _read_file(path: str, name: str, where: str) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ImageError(f"image {name} is no ordinary file", f"look at {where}")
        check_size(name, status.st_size)
        return _content(path, status.st_size)
    except OSError as exc:
        raise ImageError(f"image {name} cannot be read: {exc.strerror}", f"look at {where}") from exc
    except ValueError as exc:  # a NUL, or characters that no file name can have
        raise ImageError(f"image {name} cannot be read: no file can be called so", f"look at {where}") from exc


def _content(path: str, size: int) -> bytes:
    """Return all of a file that has probably this size; a file object would take longer than a small file's bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
    finally:
        os.close(descriptor)
    return Path(path).read_bytes()  # it grew or shrank, or came in pieces


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
    file = os.open(path, os.O_RDONLY)
    try:
        if file_stamp(file) != list(stamp):
            raise changed(str(path))
        data = os.pread(file, size, offset)
        while len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):  # at most 2 GB each
            data += more
    finally:
        os.close(file)
    return data


def changed(where: str) -> SourceError:
    """Return the error for a file whose remembered listing or hashes hold no more."""
    return SourceError(f"{where} changed while featx was reading it", "run it again")
