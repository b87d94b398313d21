"""Stored features as plain HDF5: copied, or as a virtual data set over the store's shards."""

from __future__ import annotations

import io
import itertools
import json
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.cache.contents import flaw_inside
from featx.cache.key import SCHEMA
from featx.cache.plain import Named, classes_of, plain_text
from featx.cache.schema import DATASET, SHARDS
from featx.cache.table import FeatureTable
from featx.core.packages import version
from featx.errors import CorruptStoreError, OptionError

IDS, LABELS, CLASSES = "ids", "labels", "classes"

NOTE = "virtual: rows of a shard that is gone read as NaN; `shards` says which files these are, and their SHA-256"

_TEXT_ROWS = 65_536
"""Ids handed to HDF5 at once."""


def write_h5(fd: int, tables: Sequence[Named], beside: Path | None = None) -> None:
    """Write tables to one HDF5 file, in flat memory.

    ``/<split>/<layer>`` holds the features with the key as JSON in attribute ``key``, ``/<split>/ids`` the
    ids, ``/<split>/labels`` the labels where they are known (-1 for a row without one), ``/classes`` the class names.

    Parameters
    ----------
    fd : int
        An empty file that can be read and written.
    tables : sequence of (layer, split, FeatureTable)
        Tables of one split have the same rows; an empty split name is written as ``all``.
    beside : Path, optional
        The folder that the file will lie in: the features are then not copied but read from the store's shards,
        found by paths relative to it. HDF5 reads NaN, without an error, where a shard is gone.

    Raises
    ------
    OptionError
        A name is taken or unfit, or the tables do not go together.
    OSError
        The file could not be written.
    """
    splits = _by_split([(layer, split or "all", table) for layer, split, table in tables])
    classes = classes_of(tables)
    with _h5_file(fd) as (file, sink):
        file.attrs["featx"] = version("featx")
        file.attrs["schema"] = SCHEMA
        _write_text(file, CLASSES, iter(classes), len(classes), sink)
        for split, layers in splits.items():
            _write_split(file.create_group(split), layers, sink, beside)


def _by_split(named: Sequence[Named]) -> dict[str, dict[str, FeatureTable]]:
    """Group the tables and check that a split's names are free and its rows the same in every layer."""
    splits: dict[str, dict[str, FeatureTable]] = {}
    for layer, split, table in named:
        layers = splits.setdefault(split, {})
        if layer in (IDS, LABELS, "", ".") or "/" in layer or layer in layers:
            raise OptionError(
                f"layer {layer!r} of split {split!r} cannot be a data set's name or is already taken",
                "export it to its own file",
            )
        if split in (CLASSES, ".") or "/" in split:
            raise OptionError(f"split {split!r} cannot be a group's name")
        first = next(iter(layers.values()), table)
        if not _has_same_rows(first, table):
            raise OptionError(
                f"layer {layer!r} of split {split!r} has other images than the layers before it",
                "export it to its own file",
            )
        layers[layer] = table
    return splits


def _has_same_rows(a: FeatureTable, b: FeatureTable) -> bool:
    return np.array_equal(a.rows, b.rows) and all(map(operator.eq, a.iter_ids(), b.iter_ids()))


def _write_split(group: h5py.Group, layers: dict[str, FeatureTable], sink: _Sink, beside: Path | None) -> None:
    first = next(iter(layers.values()))
    if first.y is not None:
        group.create_dataset(LABELS, data=first.y, track_times=False)
    sink.check()
    _write_text(group, IDS, first.iter_ids(), len(first), sink)
    for layer, table in layers.items():
        dataset = _copied(group, layer, table, sink) if beside is None else _virtual(group, layer, table, beside)
        dataset.attrs["key"] = json.dumps(table.key, sort_keys=True)
        sink.check()


def _copied(group: h5py.Group, layer: str, table: FeatureTable, sink: _Sink) -> h5py.Dataset:
    dataset = group.create_dataset(layer, table.shape, table.dtype, track_times=False)
    row = 0
    for chunk in table.iter_chunks():
        dataset[row : row + len(chunk)] = chunk
        sink.check()
        row += len(chunk)
    return dataset


def _virtual(group: h5py.Group, layer: str, table: FeatureTable, beside: Path) -> h5py.Dataset:
    """Map the present rows of each shard into one virtual data set, once the shard was found to be what was written.

    HDF5, unlike our own reader, follows what a file says: a shard that points out of itself is refused.
    """
    layout = h5py.VirtualLayout(table.shape, table.dtype)
    shards = []
    row = 0
    for fd, receipt, runs in table.X.iter_shards():
        flaw = flaw_inside(fd, receipt, table.X.plan, table.path.name)
        shard = table.path / SHARDS / receipt.file
        if flaw:
            raise CorruptStoreError(f"{shard} is damaged: {flaw}", f"`featx cache verify {table.path.name[:12]}`")
        path = os.path.relpath(os.path.realpath(shard), os.path.realpath(beside))
        shape = (receipt.stop - receipt.start, table.shape[1])
        source = h5py.VirtualSource(path.replace("%", "%%"), DATASET, shape, table.dtype)  # HDF5 fills %b in
        for first, rows in runs:
            layout[row : row + rows] = source[first : first + rows]
            row += rows
        shards.append({"path": plain_text(path), "sha256": receipt.sha256, "bytes": receipt.bytes})
    dataset = group.create_virtual_dataset(layer, layout, fillvalue=np.nan)
    dataset.attrs["note"] = NOTE
    dataset.attrs["shards"] = json.dumps(shards, sort_keys=True)
    return dataset


def _write_text(group: h5py.Group, name: str, values: Iterator[str], n: int, sink: _Sink) -> None:
    """Write names as UTF-8; bytes of a file name that are none stay readable as escapes."""
    dataset = group.create_dataset(name, (n,), h5py.string_dtype("utf-8"), track_times=False)
    for start in range(0, n, _TEXT_ROWS):
        part = [plain_text(text) for text in itertools.islice(values, _TEXT_ROWS)]
        dataset[start : start + len(part)] = part
        sink.check()


@contextmanager
def _h5_file(fd: int) -> Iterator[tuple[h5py.File, _Sink]]:
    """Yield an HDF5 file that writes through `fd`, and the sink that knows whether it could."""
    sink = _Sink(fd)
    try:
        file = h5py.File(sink, "w", libver=("earliest", "v110"))
        try:
            yield file, sink
        finally:
            file.close()
    except Exception:
        sink.check()  # the system's error explains HDF5's
        raise
    sink.check()


class _Sink(io.RawIOBase):
    """The file HDF5 writes to, which never fails: HDF5 cannot close a file whose writes fail.

    The first error is kept for `check`; from then on nothing is written, and the file is thrown away.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._end = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what a write failed with."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size, at = len(rest), self._at
        try:
            while rest and self._error is None:
                done = os.pwrite(self._fd, rest, at)
                rest, at = rest[done:], at + done
        except OSError as exc:
            self._error = exc
        self._at += size
        self._end = max(self._end, self._at)
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        with suppress(OSError):
            os.preadv(self._fd, [view], self._at)
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        try:
            if self._error is None:
                os.ftruncate(self._fd, self._end)
        except OSError as exc:
            self._error = exc
        return self._end
