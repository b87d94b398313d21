"""Reading features: a matrix on the disk that indexes like an array, with labels and ids beside it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.cache.folder import KeyFolder, StoredPlan
from featx.cache.schema import Receipt
from featx.errors import OptionError

_CHUNK_BYTES = 16 << 20
_BLOCK_BYTES = 8 << 20
_GAP_BYTES = 32 << 10
"""Unwanted bytes between two wanted rows that are read along rather than sought over."""

Array = np.ndarray[Any, Any]


class FeatureMatrix:
    """The present rows of one key's features, of shape (n, d); read from the disk as they are asked for.

    Takes an integer, a slice, a boolean mask or an array of row numbers, and beside it a column or a slice of
    columns; gives what numpy would give for the same array. It holds no open file and can be pickled.
    """

    def __init__(self, folder: KeyFolder, stored: StoredPlan, receipts: Sequence[Receipt], rows: Array | None) -> None:
        self._folder = folder
        self._plan = stored.plan
        self._receipts = list(receipts)
        self._rows = rows  # None: no row is skipped
        stop = self._receipts[-1].stop if self._receipts else 0
        self.shape: tuple[int, int] = (stop if rows is None else len(rows), stored.plan.columns)
        self.dtype: np.dtype[Any] = stored.plan.stored
        self.ndim = 2

    @property
    def size(self) -> int:
        """Number of values."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the values in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("features lie on the disk: an array of them is always a copy")
        values: Array = self[:]
        return values.astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        rows, columns = _split(index)
        if isinstance(rows, (int, np.integer)) and not isinstance(rows, bool):
            return self._gather(_numbers([rows], len(self)), columns)[0]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1 and self._rows is None and columns == slice(None):
                return self._read(start, max(start, stop))
            return self._gather(np.arange(start, stop, step), columns)
        return self._gather(_numbers(rows, len(self)), columns)

    def iter_chunks(self, rows: int | None = None) -> Iterator[Array]:
        """Yield arrays of `rows` consecutive rows (the last may have fewer); by default about 16 MB each."""
        step = max(1, _CHUNK_BYTES // self._plan.row_bytes) if rows is None else rows
        if step < 1:
            raise OptionError(f"chunks of {rows} rows, expected at least 1")
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def _read(self, start: int, stop: int) -> Array:
        """Return consecutive stored rows, one read a shard."""
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        row = start
        while row < stop:
            receipt = self._receipts[row // self._plan.shard_rows]
            end = min(stop, receipt.stop)
            with self._folder.shard(receipt) as fd:
                self._fill(fd, receipt, row, out[row - start : end - start])
            row = end
        return out

    def _gather(self, numbers: Array, columns: Any) -> Array:
        """Return rows in any order: sorted, grouped into runs that lie close together, read, and put back."""
        stored = numbers if self._rows is None else self._rows[numbers]
        order = np.argsort(stored, kind="stable")
        stored = stored[order]
        width = np.empty((0, self.shape[1]), self.dtype)[:, columns].shape[1:]
        out = np.empty((len(stored), *width), self.dtype)
        shard_rows = self._plan.shard_rows
        for begin, end in _runs(stored // shard_rows, 0):
            receipt = self._receipts[int(stored[begin]) // shard_rows]
            with self._folder.shard(receipt) as fd:
                for first, last in self._close_runs(stored[begin:end]):
                    wanted = stored[begin + first : begin + last]
                    low, high = int(wanted[0]), int(wanted[-1]) + 1
                    block = np.empty((high - low, self.shape[1]), self.dtype)
                    self._fill(fd, receipt, low, block)
                    out[order[begin + first : begin + last]] = block[wanted - low][:, columns]
        return out

    def _close_runs(self, stored: Array) -> Iterator[tuple[int, int]]:
        """Yield ranges of sorted row numbers to be read at once: small gaps only, at most one block."""
        gap = 1 + _GAP_BYTES // self._plan.row_bytes
        block = max(1, _BLOCK_BYTES // self._plan.row_bytes)
        for begin, end in _runs(stored // block, 0):
            for first, last in _runs(stored[begin:end], gap):
                yield begin + first, begin + last

    def _fill(self, fd: int, receipt: Receipt, row: int, out: Array) -> None:
        """Read rows from `row` on into the contiguous array `out`."""
        rest = out.reshape(-1).view(np.uint8).data
        at = receipt.offset + (row - receipt.start) * self._plan.row_bytes
        while rest:
            got = os.preadv(fd, [rest], at)
            if got == 0:
                raise self._folder.damaged(self._folder.shards / receipt.file, "it ends before its rows do")
            rest, at = rest[got:], at + got


def _split(index: Any) -> tuple[Any, Any]:
    """Return the index of the rows and that of the columns, a slice or an integer."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (3 - len(parts))
    if len(parts) > 2 or any(part is None or part is Ellipsis for part in parts):
        raise IndexError("features have two dimensions: rows, and columns beside them")
    rows, columns = [*parts, slice(None), slice(None)][:2]
    if isinstance(columns, np.integer):
        columns = int(columns)
    if not isinstance(columns, (slice, int)) or isinstance(columns, bool):
        raise IndexError("columns are chosen by a slice or an integer")
    return rows, columns


def _numbers(index: Any, n: int) -> Array:
    """Return an index array or a boolean mask as row numbers from 0 to n - 1."""
    numbers = np.asarray(index)
    if numbers.ndim == 1 and numbers.dtype == np.bool_:
        if len(numbers) != n:
            raise IndexError(f"a mask of {len(numbers)} values for {n} rows")
        return np.flatnonzero(numbers)
    if isinstance(index, list) and not index:
        return np.empty(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise IndexError("rows are chosen by an integer, a slice, a boolean mask or an array of integers")
    out = (numbers < -n) | (numbers >= n)
    if out.any():
        raise IndexError(f"row {numbers[out][0]} is out of bounds for {n} rows")
    numbers = numbers.astype(np.int64)
    return np.where(numbers < 0, numbers + n, numbers)


def _runs(values: Array, gap: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a sorted array between steps larger than `gap`."""
    edges = [0, *(np.flatnonzero(np.diff(values) > gap) + 1).tolist(), len(values)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield begin, end


class FeatureTable:
    """One key's features with their labels and ids; rows that were skipped do not appear.

    Attributes
    ----------
    X : FeatureMatrix of shape (n, d)
        Lazy; ``numpy.asarray(table.X)`` reads it whole.
    y : ndarray of int64 of shape (n,), or None
        Labels of the source given to `FeatureStore.open`; -1 where unknown.
    classes : tuple of str
        The source's class names.
    key : dict
        The key, as stored.
    rows : ndarray of int64 of shape (n,)
        Rows of the source that are present.
    """

    def __init__(
        self,
        folder: KeyFolder,
        key: dict[str, Any],
        stored: StoredPlan,
        receipts: Sequence[Receipt],
        source: Any,
    ) -> None:
        self.key = key
        self.path = folder.path
        self._folder = folder
        self._stored = stored
        self._reasons: list[tuple[int, str]] = [(row, why) for part in receipts for row, why in part.skipped]
        present = np.ones(key["n_rows"], bool)
        present[[row for row, _ in self._reasons]] = False
        self.rows: Array = np.flatnonzero(present).astype(np.int64)
        self.X = FeatureMatrix(folder, stored, receipts, self.rows if self._reasons else None)
        labels = getattr(source, "labels", None)
        self.y: Array | None = None if labels is None else np.asarray(labels, np.int64)[self.rows]
        self.classes: tuple[str, ...] = tuple(getattr(source, "classes", None) or ())
        if source is not None:
            self._all_ids = list(source.ids)

    @functools.cached_property
    def _all_ids(self) -> list[str]:
        return self._folder.ids(self.key, self._stored)

    @functools.cached_property
    def ids(self) -> list[str]:
        """Ids of the present rows: the source's, or those it had when it was first extracted."""
        return [self._all_ids[row] for row in self.rows.tolist()] if self._reasons else list(self._all_ids)

    @property
    def skipped(self) -> list[tuple[int, str, str]]:
        """Rows that have no features: (row of the source, id, reason)."""
        return [(row, self._all_ids[row], why) for row, why in self._reasons]

    @property
    def shape(self) -> tuple[int, int]:
        """(present rows, columns)."""
        return self.X.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values."""
        return self.X.dtype

    def __len__(self) -> int:
        return len(self.X)

    def iter_chunks(self, rows: int | None = None) -> Iterator[Array]:
        """Yield `X` in arrays of consecutive rows; see `FeatureMatrix.iter_chunks`."""
        return self.X.iter_chunks(rows)
