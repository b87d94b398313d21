"""Features on disk that index like an array: slices, masks, row numbers, chunks in order or shuffled.

Rows of the matrix are those that are present: where images were skipped, the key's own rows have other numbers. Only
these tell where on the disk a row is; `FeatureMatrix._rows` leads from the ones to the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from featx.cache.folder import KeyFolder, StoredPlan
from featx.cache.present import ChosenRows, PresentRows
from featx.cache.schema import ShardFile
from featx.errors import OptionError

_CHUNK_BYTES = 16 << 20
_BLOCK_BYTES = 8 << 20
_WINDOW_BYTES = 128 << 20
_SHUFFLED_BYTES = 256 << 10
"""What stays together when rows are shuffled: few enough seeks for a disk, many blocks in a window."""

_GAP_BYTES = 8 << 10
"""Unwanted bytes between two wanted rows that are read along: they cost less than a call of their own."""

Array = np.ndarray[Any, Any]


class _Run(NamedTuple):
    """Wanted rows of one shard that lie close together, so that one read gets them all.

    Parameters
    ----------
    first, last : int
        Which of the sorted wanted rows they are.
    row : int
        The first one's row of the key: where the read begins.
    place : int
        Where that row goes in the result, if one read can fill it in from there on; -1 where the run has gaps, or its
        rows do not stand one behind the other in the result.
    """

    first: int
    last: int
    row: int
    place: int


class FeatureMatrix:
    """The present rows of one key's features, of shape (n, d); read from disk on access.

    Indexed by an integer, a slice, a boolean mask or an array of row numbers, and optionally a column or a slice of
    columns; returns what numpy would for the same array.

    It holds no open files: each read opens the shards that it needs and closes them. So it can be pickled, and read
    from threads, forked processes and the workers of a ``torch.utils.data.DataLoader``, for which it is a data set.

    Parameters
    ----------
    folder : KeyFolder
        Where the shards are.
    stored : StoredPlan
        How they were computed and sharded.
    receipts : sequence of ShardFile
        One per shard, in order.
    rows : PresentRows, ChosenRows or None
        Rows of the key that are present; None if all are.

    Attributes
    ----------
    shape : tuple of int
        (n, d).
    dtype : dtype
        Of the stored values.
    ndim : int
        Number of dimensions, 2.
    plan : Plan
        How the features were computed and sharded.
    """

    def __init__(
        self,
        folder: KeyFolder,
        stored: StoredPlan,
        receipts: Sequence[ShardFile],
        rows: PresentRows | ChosenRows | None,
    ) -> None:
        self._folder, self._stored = folder, stored
        self.plan = stored.plan
        self._receipts = list(receipts)
        self._rows = rows  # of the key, by row of the matrix; None: no row is skipped
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
            raise ValueError("features are on disk: an array of them is always a copy")
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

    def subset(self, rows: Array) -> FeatureMatrix:
        """Return some of the rows as a matrix that is also read from disk.

        Parameters
        ----------
        rows : ndarray of shape (m,)
            Row numbers, ascending, or a boolean mask.

        Returns
        -------
        FeatureMatrix
            Of shape (m, d).

        Raises
        ------
        OptionError
            The rows are not in ascending order.
        IndexError
            There are no such rows.
        """
        numbers = _numbers(rows, len(self))
        if (np.diff(numbers) <= 0).any():
            raise OptionError("rows of a part of the features are not in ascending order", "sort them")
        stored = numbers if self._rows is None else self._rows[numbers]
        return FeatureMatrix(self._folder, self._stored, self._receipts, ChosenRows(stored))

    def iter_chunks(self, rows: int | None = None) -> Iterator[Array]:
        """Yield arrays of consecutive rows.

        Parameters
        ----------
        rows : int, optional
            Rows per chunk (the last may have fewer); None makes chunks of about 16 MB.

        Yields
        ------
        ndarray of shape (rows, d)
            The features.

        Raises
        ------
        OptionError
            For fewer than one row.
        """
        step = self._rows_or(rows, "chunks", _CHUNK_BYTES)
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def iter_shuffled(
        self, rows: int | None = None, *, seed: int = 0, window: int | None = None
    ) -> Iterator[tuple[Array, Array]]:
        """Yield (row numbers, their features) in random order, every row once, without seeking for each row.

        Blocks of consecutive rows, 256 KiB each, are put in random order; then one window at a time is read, in disk
        order, and shuffled in memory. Rows of a block therefore come out near each other, though not adjacent. If
        `window` is at least the number of rows, every order is equally likely.

        Parameters
        ----------
        rows : int, optional
            Rows per chunk (the last may have fewer); None makes chunks of about 16 MB.
        seed : int
            Equal seeds give equal orders, for equal `rows`, `window`, number of rows and bytes per row. Use a different
            one for each epoch.
        window : int, optional
            Rows in memory at once, rounded up to a multiple of `rows`; None takes about 128 MB. In addition, one
            chunk and 8 bytes per row of the matrix.

        Yields
        ------
        numbers : ndarray of int64 of shape (rows,)
            Where in the matrix the rows are: ``table.y[numbers]`` are their labels.
        X : ndarray of shape (rows, d)
            Their features.

        Raises
        ------
        OptionError
            For chunks or a window of fewer than one row.
        """
        step = self._rows_or(rows, "chunks", _CHUNK_BYTES)
        span = -(-self._rows_or(window, "a window", _WINDOW_BYTES) // step) * step
        random = np.random.default_rng(seed)
        order = _shuffled_blocks(len(self), max(1, _SHUFFLED_BYTES // self.plan.row_bytes), random)
        held = np.empty((min(span, len(self)), self.shape[1]), self.dtype)
        for first in range(0, len(self), span):
            numbers = np.sort(order[first : first + span], kind="stable")  # made for runs
            self._gather(numbers, slice(None), held[: len(numbers)])
            mixed = random.permutation(len(numbers))
            for start in range(0, len(mixed), step):
                chosen = mixed[start : start + step]
                yield numbers[chosen], held[chosen]

    def iter_shards(self) -> Iterator[tuple[int, ShardFile, list[tuple[int, int]]]]:
        """Yield each shard that has present rows.

        The descriptor is closed when the next shard is asked for; its bytes were found to be the receipt's.

        Yields
        ------
        fd : int
            Descriptor of the shard's file.
        receipt : ShardFile
            What it holds.
        runs : list of tuple of int
            Runs of present rows, as (first row within the shard, number of rows).
        """
        for receipt in self._receipts:
            bounds = [receipt.start, receipt.stop]
            begin, end = bounds if self._rows is None else self._rows.places(bounds).tolist()
            rows = np.arange(begin, end) if self._rows is None else self._rows[np.arange(begin, end)]
            runs = [(int(rows[first]) - receipt.start, last - first) for first, last in _runs(rows, 1)]
            if runs:
                with self._folder.shard(receipt) as fd:
                    yield fd, receipt, runs

    def _rows_or(self, rows: int | None, name: str, default: int) -> int:
        """Return `rows`, or as many as make up `default` bytes."""
        if rows is not None and rows < 1:
            raise OptionError(f"{name} of {rows} rows, expected at least 1")
        return max(1, default // self.plan.row_bytes) if rows is None else rows

    def _read(self, start: int, stop: int) -> Array:
        """Return consecutive stored rows, one read a shard."""
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        row = start
        while row < stop:
            receipt = self._receipts[row // self.plan.shard_rows]
            end = min(stop, receipt.stop)
            with self._folder.shard(receipt) as fd:
                self._folder.fill(fd, receipt, self.plan.row_bytes, row, _bytes(out[row - start : end - start]))
            row = end
        return out

    def _gather(self, numbers: Array, columns: Any, out: Array | None = None) -> Array:
        """Return rows in any order: sorted, read in runs that lie close together, and put in their places."""
        wanted, places = self._sorted(numbers)
        if out is None:
            width = np.empty((0, self.shape[1]), self.dtype)[:, columns].shape[1:]
            out = np.empty((len(wanted), *width), self.dtype)
        memory = _bytes(out) if columns == slice(None) else None
        size = self.plan.row_bytes
        for receipt, runs in self._close_runs(wanted, places):
            with self._folder.shard(receipt) as fd:
                for run in runs:
                    if memory is not None and run.place >= 0:
                        part = memory[run.place * size : (run.place + run.last - run.first) * size]
                        self._folder.fill(fd, receipt, size, run.row, part)
                    else:
                        rows = slice(run.first, run.last)
                        out[places[rows]] = self._picked(fd, receipt, wanted[rows], columns)
        return out

    def _sorted(self, numbers: Array) -> tuple[Array, Array]:
        """Return rows of the matrix as rows of the key, sorted, and the place of each in what was asked for."""
        rows = numbers if self._rows is None else self._rows[numbers]
        rising = bool((rows[1:] >= rows[:-1]).all())
        places = np.arange(len(rows)) if rising else np.argsort(rows, kind="stable")
        return rows[places], places

    def _picked(self, fd: int, receipt: ShardFile, wanted: Array, columns: Any) -> Array:
        """Return some rows of one shard, rising, by one read from the first of them to the last."""
        inside = wanted - wanted[0]
        block = np.empty((int(inside[-1]) + 1, self.shape[1]), self.dtype)
        self._folder.fill(fd, receipt, self.plan.row_bytes, int(wanted[0]), _bytes(block))
        picked: Array = block[inside, columns]
        return picked

    def _close_runs(self, wanted: Array, places: Array) -> Iterator[tuple[ShardFile, Iterator[_Run]]]:
        """Yield, for each shard, what is to be read at once of sorted rows of the key."""
        if not len(wanted):
            return
        first = self._beginnings(wanted)
        last = np.append(first[1:], len(wanted))
        place = _straight_places(wanted, places, first, last)
        shard = wanted[first] // self.plan.shard_rows
        for begin, end in _runs(shard, 0):
            fields = (values[begin:end].tolist() for values in (first, last, wanted[first], place))
            yield self._receipts[int(shard[begin])], map(_Run._make, zip(*fields, strict=True))

    def _beginnings(self, wanted: Array) -> Array:
        """Return where in sorted rows of the key runs begin: behind a large gap, in a new shard, in a new block."""
        gap = 1 + _GAP_BYTES // self.plan.row_bytes
        block = max(1, _BLOCK_BYTES // self.plan.row_bytes)
        shard, inside = np.divmod(wanted, self.plan.shard_rows)
        parted = (np.diff(wanted) > gap) | (np.diff(shard) > 0) | (np.diff(inside // block) != 0)
        return np.concatenate([[0], np.flatnonzero(parted) + 1])


def _straight_places(wanted: Array, places: Array, first: Array, last: Array) -> Array:
    """Return each run's `_Run.place`."""
    breaks = np.concatenate([[0], np.cumsum((np.diff(wanted) != 1) | (np.diff(places) != 1))])
    return np.where(breaks[last - 1] == breaks[first], places[first], -1)


def _bytes(out: Array) -> memoryview:
    """Return the memory of a contiguous array."""
    return out.reshape(-1).view(np.uint8).data


def _split(index: Any) -> tuple[Any, Any]:
    """Return the index of the rows and that of the columns, a slice or an integer."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (3 - len(parts))
    if len(parts) > 2 or any(part is None or part is Ellipsis for part in parts):
        raise IndexError("features have two dimensions, rows and columns")
    rows, columns = [*parts, slice(None), slice(None)][:2]
    if isinstance(columns, np.integer):
        columns = int(columns)
    if not isinstance(columns, (slice, int)) or isinstance(columns, bool):
        raise IndexError("columns are indexed by a slice or an integer")
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
        raise IndexError("rows are indexed by an integer, a slice, a boolean mask or an array of integers")
    out = (numbers < -n) | (numbers >= n)
    if out.any():
        raise IndexError(f"row {numbers[out][0]} is out of bounds for {n} rows")
    numbers = numbers.astype(np.int64)
    return np.where(numbers < 0, numbers + n, numbers)


def _shuffled_blocks(n: int, block: int, random: np.random.Generator) -> Array:
    """Return 0 to n - 1 with blocks of consecutive numbers in random order."""
    starts = random.permutation(-(-n // block)) * block
    numbers = (starts[:, None] + np.arange(block)).reshape(-1)
    return numbers[numbers < n]


def _runs(values: Array, gap: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a sorted array between steps larger than `gap`."""
    edges = [0, *(np.flatnonzero(np.diff(values) > gap) + 1).tolist(), len(values)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield begin, end
