"""Where image files lie: a folder or a zip archive, read in place, their content hashes remembered."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import zipfile
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
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(self._root):
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
        fresh = dict(zip(stale, _hash_all(self, stale), strict=True))
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
        return _as_rows(digests)


class PathFiles:
    """Single files, named by the paths they were given as."""

    where = "the given paths"

    def names(self) -> list[str]:
        return []

    def read(self, name: str) -> bytes:
        return _read_file(Path(name), name, self.where)

    def hashes(self, names: Sequence[str]) -> Hashes:
        return _as_rows(_hash_all(self, names))


class ZipFiles:
    """The members of a zip archive, never unpacked; names and hashes are remembered under its stamp."""

    def __init__(self, path: Path, memo: Memo | None = None) -> None:
        self.where = str(path)
        self._path = path
        self._memo = memo
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        self._stamp = file_stamp(path)
        known = memo.get("zip", self._about) if memo else None
        self._names: list[str] | None = known["names"] if known else None
        self._known: dict[str, str] = known["hashes"] if known else {}

    @property
    def _about(self) -> dict[str, Any]:
        return {"stamp": self._stamp}

    def _is_unchanged(self) -> bool:
        try:
            return file_stamp(self._path) == self._stamp
        except OSError:
            return False

    def _open(self) -> zipfile.ZipFile:
        with self._lock:
            if self._archive is None:
                try:
                    self._archive = zipfile.ZipFile(self._path)
                except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as exc:
                    raise SourceError(
                        f"archive {self.where} is no readable zip: {' '.join(str(exc).split())}",
                        "copy or download it again",
                    ) from exc
            return self._archive

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "memo": self._memo}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["memo"])  # type: ignore[misc]

    def names(self) -> list[str]:
        if self._names is None:
            self._names = sorted({i.filename for i in self._open().infolist() if not i.is_dir()})
        return self._names

    def read(self, name: str) -> bytes:
        archive = self._open()
        try:
            info = archive.getinfo(name)
            _check_size(name, info.file_size)
            return archive.read(info)
        except ImageError:
            raise
        # zipfile passes on what its decompressors raise, and RuntimeError for encrypted members.
        except Exception as exc:
            if not self._is_unchanged():  # not one bad image: nothing that was listed holds any more
                raise SourceError(f"archive {self.where} changed while featx was reading it", "run it again") from exc
            raise ImageError(
                f"image {name} in {self.where} cannot be read: {' '.join(str(exc).split())[:200]}",
                "make the archive again, or use --on-error skip",
            ) from exc

    def hashes(self, names: Sequence[str]) -> Hashes:
        missing = [name for name in names if name not in self._known]
        if missing:
            self._known.update(zip(missing, _hash_all(self, missing, threads=1), strict=True))
            readable = {name: digest for name, digest in self._known.items() if digest != UNREADABLE}
            if self._memo and is_settled(self._stamp) and self._is_unchanged():
                self._memo.put("zip", self._about, {"names": self.names(), "hashes": readable})
        return _as_rows(self._known[name] for name in names)


UNREADABLE = hashlib.sha256(b"featx: unreadable").hexdigest()
"""Stands for the content of a file that cannot be read; decoding it then says why."""


def _hash_all(files: Files, names: Sequence[str], threads: int | None = None) -> list[str]:
    def one(name: str) -> str:
        try:
            return hashlib.sha256(files.read(name)).hexdigest()
        except ImageError:
            return UNREADABLE

    if threads == 1 or len(names) < 64:
        return [one(name) for name in names]
    with ThreadPoolExecutor(threads or min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(one, names, chunksize=64))


def _as_rows(digests: Iterable[str]) -> Hashes:
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32)


def _read_file(path: Path, name: str, where: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ImageError(f"image {name} is no ordinary file", f"look at {where}")
        _check_size(name, status.st_size)
        return path.read_bytes()
    except OSError as exc:
        raise ImageError(f"image {name} cannot be read: {exc.strerror}", f"look at {where}") from exc


def _check_size(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ImageError(f"image {name} has {size:,} bytes, at most {MAX_FILE_BYTES:,} are read", "use --on-error skip")


def _refuse_links(folders: list[str]) -> None:
    for folder in folders:
        if os.path.islink(folder):  # a class must not be left out unseen
            raise SourceError(
                f"folder {folder} is a link, and links to folders are not followed",
                "copy the folder instead, or remove the link",
            )


def _raise(error: OSError) -> None:
    raise error
