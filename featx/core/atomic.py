"""Files that are wholly there or not at all: a temporary name, fsync, rename, fsync of the folder.

Nothing here trusts what is on the disk: files read back are regular files of a bounded size, links are not
followed, and every failure of the operating system becomes one of featx's own errors.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featx.errors import CorruptStoreError, DiskFullError, StoreError

MAX_JSON_BYTES = 1 << 20
"""Largest JSON file that is read unless the caller knows better: parsed, it takes twenty times as much memory."""

_MAX_DEPTH = 64
"""Levels of JSON; featx's own files have five."""

BLOCK = 1 << 20
"""Bytes read at once where a file is hashed or copied."""

NAME_BYTES = 4096
"""What a folder, or one more name in a folder, may need."""

STALE_SECONDS = 86_400
"""Age after which temporary files made on another machine count as left behind."""

_TEMPORARY = re.compile(r"\.tmp-([0-9]{1,10})-([0-9a-f]{8})[0-9a-f]{8}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS)
_ELSEWHERE = "point --home or FEATX_HOME elsewhere"
_REMOVE = "remove the file and run the command again"


def storage_error(path: Path, exc: OSError, needed: int = 0) -> StoreError:
    """Turn a failed write below `path` into an error that says what fixes it; `needed` in bytes."""
    if exc.errno in _FULL:
        return DiskFullError(
            f"no room to write {path}: {needed or NAME_BYTES:,} bytes needed, {_free_bytes(path):,} bytes free "
            f"({exc.strerror})",
            f"free some space (`featx cache ls`), or {_ELSEWHERE}",
        )
    if exc.errno in _READ_ONLY:
        return StoreError(f"{path} cannot be written: it is read-only ({exc.strerror})", _ELSEWHERE)
    return StoreError(f"{path} cannot be written: {exc.strerror or exc}", _ELSEWHERE)


def _free_bytes(path: Path) -> int:
    for folder in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


@functools.cache
def _place() -> str:
    """Eight hexadecimal digits for this machine and process namespace: elsewhere a pid means nothing."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


def temporary_name() -> str:
    """Return a fresh name that `tidy` recognises once its process is gone."""
    return f".tmp-{os.getpid()}-{_place()}{secrets.token_hex(4)}"


def is_temporary(name: str) -> bool:
    """Tell whether a file's name is one that `temporary_name` gave."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def replacing(path: Path, needed: int = 0) -> Iterator[int]:
    """Yield a descriptor to a temporary file that becomes `path` when the block ends well.

    On any exception the temporary file is gone and `path` is what it was.

    Raises
    ------
    DiskFullError, StoreError
        For an OSError in the block or of the file system.
    """
    temporary = path.parent / temporary_name()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, 0o666)
        try:
            yield fd
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as exc:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(exc, OSError):
            raise storage_error(path, exc, needed) from exc
        raise


def write_bytes(path: Path, data: bytes, needed: int = 0) -> None:
    """Write a whole file, or leave what was there; the bytes are on the disk when this returns.

    `needed` bytes, where they are more than those of `data`, are what a full disk is said to lack.
    """
    with replacing(path, max(len(data), needed)) as fd:
        write_all(fd, data)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`: one call of the system may take less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON: sorted keys, ASCII, no NaN."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode("ascii"))


@contextmanager
def opened(path: Path, hint: str = _REMOVE) -> Iterator[int]:
    """Yield a read-only descriptor of a regular file; links, pipes and devices are refused.

    Raises
    ------
    StoreError
        The file is absent or may not be read.
    CorruptStoreError
        It is a link or no regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe that somebody put here must not wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise CorruptStoreError(f"{path} is a symbolic link, expected a file", hint) from exc
        raise StoreError(f"{path} cannot be read: {exc.strerror or exc}", hint) from exc
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CorruptStoreError(f"{path} is not a regular file", hint)
        yield fd
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror or exc}", hint) from exc
    finally:
        os.close(fd)


def sha256_of(fd: int, see: Callable[[bytes], None] | None = None, prefix: bytes = b"") -> str:
    """Return the SHA-256, in hexadecimal, of `prefix` and an open file; `see` is shown its bytes, block by block."""
    digest = hashlib.sha256(prefix)
    os.lseek(fd, 0, os.SEEK_SET)
    while block := os.read(fd, BLOCK):
        digest.update(block)
        if see is not None:
            see(block)
    return digest.hexdigest()


def has_hole(fd: int, size: int) -> bool:
    """Tell whether a part of an open file of `size` bytes takes no room on the disk: it was never written."""
    try:
        return size > 0 and os.lseek(fd, 0, os.SEEK_HOLE) < size
    except OSError:  # a file system that does not know
        return False


def read_bytes(path: Path, max_bytes: int, hint: str = _REMOVE) -> bytes:
    """Return a file's bytes; CorruptStoreError when there are more than `max_bytes`."""
    with opened(path, hint) as fd:
        size = os.fstat(fd).st_size
        if size > max_bytes:
            raise CorruptStoreError(f"{path} has {size:,} bytes, expected at most {max_bytes:,}", hint)
        with open(fd, "rb", closefd=False) as file:
            return file.read(size)


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES, hint: str = _REMOVE) -> Any:
    """Return a JSON file's value.

    Raises
    ------
    StoreError
        The file is absent or may not be read.
    CorruptStoreError
        It is larger than `max_bytes`, or no JSON.
    """
    return parse_json(path, read_bytes(path, max_bytes, hint), hint)


def parse_json(path: Path, data: bytes, hint: str = _REMOVE) -> Any:
    """Return the value of JSON bytes that came from `path`; CorruptStoreError when they are none."""
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
        _refuse_deep(data, value)
        return value
    except (ValueError, RecursionError) as exc:
        raise CorruptStoreError(f"{path} is damaged: not valid JSON ({str(exc)[:80]})", hint) from exc


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse_deep(data: bytes, value: Any) -> None:
    """Raise ValueError for JSON nested so deeply that whoever walks it may run out of stack."""
    if data.count(b"[") + data.count(b"{") <= _MAX_DEPTH:
        return
    level = [value]
    for _ in range(_MAX_DEPTH):
        parts = [part for part in level if isinstance(part, (dict, list))]
        if not parts:
            return
        level = [child for part in parts for child in (part.values() if isinstance(part, dict) else part)]
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")


def make_folder(path: Path) -> None:
    """Create a folder and its parents, each on the disk before the next; one that is there already is fine."""
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        if missing:  # whoever made the folder above may have been killed before its name was on the disk
            _sync_name(missing[-1].parent)
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            _sync_name(folder)
        if not path.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    except OSError as exc:
        raise storage_error(path, exc) from exc


def _sync_name(path: Path) -> None:
    """Make a folder's name durable, unless its parent may not be read."""
    with suppress(PermissionError):
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; some file systems cannot and need not."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a file or folder and all below it, never what a link points to."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as exc:
        raise storage_error(path, exc) from exc


def tidy(folder: Path) -> None:
    """Remove temporary files and folders in `folder` whose processes are dead, as far as that is allowed."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _TEMPORARY.fullmatch(entry.name)
            if match and _left_behind(int(match[1]), match[2], entry):
                with suppress(StoreError):
                    remove_tree(folder / entry.name)


def _left_behind(pid: int, place: str, entry: os.DirEntry[str]) -> bool:
    if place != _place():
        with suppress(OSError):
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on the file `path`; the system lets go of it when the process dies."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise storage_error(path, exc) from exc
    try:
        with suppress(OSError):  # a file system without locks: what it guards is rare, and detected
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):  # closing is not enough where a child was forked meanwhile
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
