"""ids.json, written and read piece by piece: ten million names as Python's strings take a gigabyte."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from featx.core import atomic
from featx.core.hashing import canonical_json
from featx.errors import CorruptStoreError, StoreError

Array = np.ndarray[Any, Any]

_WRITTEN = 65_536
"""Names written at once."""

_PAGE = 1024
"""Names read at once: where each such page begins is remembered."""

MAX_NAME_BYTES = 4096
"""Most bytes of a name in ids.json, on average."""


def max_ids_bytes(n_rows: int) -> int:
    """Return the largest ids.json of `n_rows` rows."""
    return 64 + MAX_NAME_BYTES * n_rows


def write_ids(path: Path, ids: Sequence[str]) -> str:
    """Write the names as one canonical JSON list and return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    first = canonical_json(list(ids[:_WRITTEN]))
    with atomic.replacing(path, len(first) * max(1, -(-len(ids) // _WRITTEN))) as fd:
        for start in range(0, max(1, len(ids)), _WRITTEN):
            names = canonical_json(list(ids[start : start + _WRITTEN]))[1:-1]
            data = (b"," if start else b"[") + names + (b"]" if start + _WRITTEN >= len(ids) else b"")
            size += len(data)
            if size > max_ids_bytes(len(ids)):
                text = f"the ids take {size:,} bytes or more, expected at most {MAX_NAME_BYTES} per row"
                raise StoreError(text, "shorten the file names")
            digest.update(data)
            atomic.write_all(fd, data)
    return digest.hexdigest()


class StoredIds(Sequence[str]):
    """The names in an ids.json, read when they are asked for.

    Parameters
    ----------
    path : Path
        The file.
    n : int
        How many names it must hold.
    sha256 : str
        Of the file; found right before any name is believed, again whenever the file changed since.
    hint : str
        What mends the file.
    """

    def __init__(self, path: Path, n: int, sha256: str, hint: str) -> None:
        self._path, self._n, self._sha256, self._hint = path, n, sha256, hint
        self._status: tuple[int, ...] = ()
        self._pages: Array = np.empty(0, np.int64)
        self._page: tuple[int, list[str]] = (-1, [])
        with atomic.opened(path, hint) as fd:
            self._scan(fd)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._some(range(self._n)[index])
        row = range(self._n)[index]
        return self._names(row // _PAGE)[row % _PAGE]

    def __iter__(self) -> Iterator[str]:
        for page in range(-(-self._n // _PAGE)):
            yield from self._names(page)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StoredIds) and (other._n, other._sha256) == (self._n, self._sha256):
            return True
        return isinstance(other, Sequence) and len(other) == self._n and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def _some(self, rows: range) -> list[str]:
        return [self._names(row // _PAGE)[row % _PAGE] for row in rows]

    def _names(self, page: int) -> list[str]:
        """Return the names of one page; the last one is kept."""
        number, names = self._page
        if number != page:
            names = self._read(page)
            self._page = page, names
        return names

    def _read(self, page: int) -> list[str]:
        with atomic.opened(self._path, self._hint) as fd:
            if _status(fd) != self._status:
                self._scan(fd)
            start, stop = self._pages[page : page + 2].tolist()
            data = os.pread(fd, stop - 1 - start, start)  # without the comma behind it, or the closing bracket
        names = atomic.parse_json(self._path, b"[" + data + b"]", self._hint)
        if len(names) != min(_PAGE, self._n - page * _PAGE) or not all(isinstance(name, str) for name in names):
            raise self._damaged(f"no list of {self._n} names")
        return list(names)

    def _scan(self, fd: int) -> None:
        """Check the file, and find where its pages begin; no name is parsed."""
        status = _status(fd)
        if os.fstat(fd).st_size > max_ids_bytes(self._n):
            raise self._damaged(f"it has {os.fstat(fd).st_size:,} bytes, too many for {self._n:,} names")
        scan = _Scan()
        if atomic.sha256_of(fd, scan.see) != self._sha256:
            raise self._damaged("its SHA-256 is not the one in plan.json")
        begins = np.concatenate([np.empty(0, np.int64), *scan.pages])
        if scan.quotes != 2 * self._n or (self._n and begins[0] != 1):
            raise self._damaged(f"no list of {self._n} names")
        self._pages = np.append(begins, scan.size)
        self._status = status

    def _damaged(self, reason: str) -> CorruptStoreError:
        return CorruptStoreError(f"{self._path} is damaged: {reason}", self._hint)


class _Scan:
    """Counts the strings in a list of strings as JSON, shown block by block, and finds where every page begins."""

    def __init__(self) -> None:
        self.size = 0
        self.quotes = 0
        self.pages: list[Array] = []
        self._rest = b""

    def see(self, block: bytes) -> None:
        """Look at the next bytes."""
        data, at = self._rest + block, self.size - len(self._rest)
        self.size += len(block)
        # An escape may go on in the next block.
        cut = len(data) - (len(data) - len(data.rstrip(b"\\"))) % 2
        data, self._rest = data[:cut], data[cut:]
        if b"\\" in data:  # as many bytes, and no quote but those around strings
            data = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        quotes = at + np.flatnonzero(np.frombuffer(data, np.uint8) == ord('"'))
        string = (self.quotes + 1) // 2  # the number of the first that begins here
        self.pages.append(quotes[self.quotes % 2 :: 2][-string % _PAGE :: _PAGE].copy())  # not a view of all
        self.quotes += len(quotes)


def _status(fd: int) -> tuple[int, ...]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
