"""Stored features as one plain HDF5 file, for people who have no featx."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.cache.atomic import replacing
from featx.cache.table import FeatureTable
from featx.errors import OptionError
from featx.specs import SCHEMA

IDS, LABELS, CLASSES = "ids", "labels", "classes"

_TEXT_ROWS = 65_536
"""Ids handed to HDF5 at once."""


def write_h5(path: str | os.PathLike[str], tables: Sequence[tuple[str, str, FeatureTable]]) -> int:
    """Write features to one HDF5 file, in flat memory, and return its size in bytes.

    ``/<split>/<layer>`` holds the features with the key as JSON in attribute ``key``, ``/<split>/ids`` the
    ids, ``/<split>/labels`` the labels (-1 where there is none), ``/classes`` the class names.

    Parameters
    ----------
    path : path
        Written under a temporary name beside it, then renamed; what stood there is replaced.
    tables : sequence of (layer, split, FeatureTable)
        Tables of one split have the same rows; an empty split name is written as ``all``.

    Raises
    ------
    OptionError
        A name is taken or unfit, or the tables do not go together.
    DiskFullError, StoreError
        The file could not be written; what stood there is untouched.
    """
    path = Path(path)
    named = [(layer, split or "all", table) for layer, split, table in tables]
    splits = _by_split(named)
    classes = _classes(named)
    if path.exists() and not path.is_file():  # a folder, or a device that a rename would destroy
        raise OptionError(f"{path} is no regular file and is not replaced", "give a file name such as features.h5")
    needed = sum(table.X.nbytes for _, _, table in named)
    with replacing(path, needed) as fd, _h5_file(fd) as (file, sink):
        file.attrs["featx"] = importlib.metadata.version("featx")
        file.attrs["schema"] = SCHEMA
        _write_text(file, CLASSES, classes, sink)
        for split, layers in splits.items():
            _write_split(file.create_group(split), layers, sink)
    return path.stat().st_size


def _by_split(named: Sequence[tuple[str, str, FeatureTable]]) -> dict[str, dict[str, FeatureTable]]:
    """Group the tables and check that a split's names are free and its rows the same in every layer."""
    splits: dict[str, dict[str, FeatureTable]] = {}
    for layer, split, table in named:
        layers = splits.setdefault(split, {})
        if layer in (IDS, LABELS, "", ".") or "/" in layer or layer in layers:
            raise OptionError(f"layer {layer!r} of split {split!r} is no free name for a data set")
        if split in (CLASSES, ".") or "/" in split:
            raise OptionError(f"split {split!r} cannot be a group's name")
        first = next(iter(layers.values()), table)
        if not np.array_equal(first.rows, table.rows) or first.ids != table.ids:
            raise OptionError(
                f"layer {layer!r} of split {split!r} has other images than the layers before it",
                "export it to a file of its own",
            )
        layers[layer] = table
    return splits


def _classes(named: Sequence[tuple[str, str, FeatureTable]]) -> tuple[str, ...]:
    known = {table.classes for _, _, table in named if table.classes}
    if len(known) > 1:
        raise OptionError("the tables have different classes", "export them to files of their own")
    return known.pop() if known else ()


def _write_split(group: h5py.Group, layers: dict[str, FeatureTable], sink: _Sink) -> None:
    first = next(iter(layers.values()))
    labels = np.full(len(first), -1, np.int64) if first.y is None else first.y
    group.create_dataset(LABELS, data=labels, track_times=False)
    sink.check()
    _write_text(group, IDS, first.ids, sink)
    for layer, table in layers.items():
        dataset = group.create_dataset(layer, table.shape, table.dtype, track_times=False)
        dataset.attrs["key"] = json.dumps(table.key, sort_keys=True)
        row = 0
        for chunk in table.iter_chunks():
            dataset[row : row + len(chunk)] = chunk
            sink.check()
            row += len(chunk)


def _write_text(group: h5py.Group, name: str, values: Sequence[str], sink: _Sink) -> None:
    """Write names as UTF-8; bytes of a file name that are none stay readable as escapes."""
    dataset = group.create_dataset(name, (len(values),), h5py.string_dtype("utf-8"), track_times=False)
    for start in range(0, len(values), _TEXT_ROWS):
        part = values[start : start + _TEXT_ROWS]
        dataset[start : start + len(part)] = [text.encode("utf-8", "backslashreplace") for text in part]
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
