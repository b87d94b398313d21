"""Images that lie one behind the other in a ``.npy`` or HDF5 file, read a row at a time."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import unreadable
from featx.core.file_stamps import file_stamp, notes_mapped_writes
from featx.core.paths import expanded
from featx.core.types import RowNumbers
from featx.data.arrays import ArraySource, Hashes, bands, check_images, hash_image, label_of, split_arrays
from featx.data.decoding import Pixels
from featx.data.files import MAX_FILE_BYTES, changed, read_at
from featx.data.hash_table import RowHashes
from featx.errors import ImageError, SourceError

if TYPE_CHECKING:
    import h5py


MAX_PACKING = 1100
"""So many bytes at most come from one: a little more than deflate can give."""


class StackFile:
    """One array in one file; its rows' hashes are remembered under the file's stamp.

    A kind of file gives `_read`.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], memo: Memo | None) -> None:
        self.path = path
        self.name = name
        self.shape = (*shape, 1) if len(shape) == 3 else shape
        self.dtype = dtype
        self._stamp = file_stamp(path)
        self._hashes = RowHashes("stack", {"stamp": self._stamp, "name": name}, shape[0], memo)

    def _read(self, row: int) -> bytes:
        raise NotImplementedError

    def read(self, row: int) -> Pixels:
        """Return one row, uint8 (H, W, C); ImageError where it cannot be read."""
        try:
            data = self._read(row)
        except SourceError:
            raise
        except Exception as exc:  # h5py passes on what HDF5's filters meet
            self.check_unchanged()
            reason = " ".join(str(exc).split())[:200]
            raise ImageError(
                f"image {row} of {self.path} cannot be read: {reason}",
                "make the file again",
                reason=f"image {row} cannot be read: {reason}",
            ) from exc
        self.check_unchanged()
        if len(data) != math.prod(self.shape[1:]):
            raise ImageError(
                f"image {row} of {self.path} is cut off",
                "write or copy the file again",
                reason=f"image {row} is cut off",
            )
        return np.frombuffer(data, np.uint8).reshape(self.shape[1:])

    def check_unchanged(self) -> None:
        """Raise SourceError where the file is no longer the one that was opened."""
        try:
            same = file_stamp(self.path) == self._stamp
        except OSError:
            same = False
        if not same:
            raise changed(str(self.path))

    def hashes(self, rows: RowNumbers) -> Hashes:
        """Return the SHA-256 of these rows, uint8 (m, 32), reading those that are not known yet."""
        return self._hashes.get(rows, self._digest)

    def _digest(self, row: int) -> bytes:
        try:
            return hash_image(self.read(row))
        except ImageError as exc:  # reading it again says so, or leaves it out
            return unreadable(exc.reason)


class DiskImages:
    """Some rows of a `StackFile`, indexed as an array is; nothing is read before a row is asked for."""

    def __init__(self, file: StackFile) -> None:
        self.file = file
        self.rows: RowNumbers = np.arange(file.shape[0], dtype=np.int64)
        self.dtype = file.dtype
        self.ndim = len(file.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array: (n, H, W, C)."""
        return (len(self.rows), *self.file.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, (int, np.integer)):
            return self.file.read(int(self.rows[at]))
        part = copy.copy(self)
        part.rows = self.rows[at]
        return part


class StackSource(ArraySource):
    """Images in a file of arrays; what was hashed is remembered, and a file that changes is refused."""

    images: DiskImages  # type: ignore[assignment]  # indexed as an array is

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        image = self.images[i]
        # What is computed must be of what was hashed.
        if hash_image(image) != self.images.file.hashes(self.images.rows[i : i + 1])[0].tobytes():
            raise changed(str(self.images.file.path))
        return image, label_of(self.labels[i])

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""
        return self.images.file.hashes(self.images.rows)


# .npy


class NpyFile(StackFile):
    """The array of a ``.npy`` file, rows at their offsets."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], start: int, memo: Memo | None) -> None:
        # Such files are what programs map into memory and change there.
        super().__init__(path, "X", shape, dtype, memo if memo and notes_mapped_writes(path) else None)
        self._start = start

    def _read(self, row: int) -> bytes:
        size = math.prod(self.shape[1:])
        return read_at(self.path, self._stamp, self._start + row * size, size)


def npy(spec: str, memo: Memo | None) -> dict[str, ArraySource]:
    """Open a ``.npy`` file of images, uint8 (n, H, W) or (n, H, W, C), without labels.

    Raises
    ------
    SourceError
        For anything else, also where the file is shorter than its header says.
    """
    path = expanded(spec)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
    # numpy's parser of headers passes on SyntaxError, struct.error, tokenize.TokenError, ...
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200]
        raise SourceError(f"{spec} is not a readable .npy: {reason}", "save it again with np.save") from exc
    needed = start + math.prod(shape) * dtype.itemsize
    # Nothing in the file could tell a damaged shape from a right one but the bytes that are there.
    if shape:
        check_images(spec, dtype, shape, bands(shape))
    if fortran or not shape or min(shape) < 0 or needed != path.stat().st_size:
        found = "in column order" if fortran else f"{path.stat().st_size:,} bytes long"
        raise SourceError(
            f"{spec} is {found}, expected rows of shape {shape} in {needed:,} bytes",
            "np.save(path, np.ascontiguousarray(images))",
        )
    return split_arrays(spec, {"X": DiskImages(NpyFile(path, shape, dtype, start, memo))}, StackSource)


# HDF5


class H5File(StackFile):
    """One dataset of images of an HDF5 file; each process opens the file for itself."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], memo: Memo | None) -> None:
        super().__init__(path, name, shape, dtype, memo)
        self._lock = threading.Lock()
        self._open: tuple[int, h5py.Dataset] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_open": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _read(self, row: int) -> bytes:
        with self._lock:  # HDF5 itself lets one thread in at a time
            if self._open is None or self._open[0] != os.getpid():
                self.check_unchanged()
                self._open = os.getpid(), _dataset(_open_h5(self.path), self.name, str(self.path))
            data: bytes = self._open[1][row].tobytes()
        return data


class H5Arrays(Mapping[str, Any]):
    """The datasets in an HDF5 file's root: images stay on the disk, everything else is read when asked for."""

    def __init__(self, path: Path, file: h5py.File, memo: Memo | None) -> None:
        self._path, self._file, self._memo = path, file, memo
        self._names = set(file)  # asking h5py for a name would follow a link

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Any:
        dataset = _dataset(self._file, name, str(self._path))
        if len(dataset.shape) >= 3:
            self._check_size(name, dataset, self._path.stat().st_size)
            return DiskImages(H5File(self._path, name, dataset.shape, dataset.dtype, self._memo))
        if dataset.size * dataset.dtype.itemsize > MAX_FILE_BYTES:
            raise SourceError(f"{self._path}: dataset {name} is too large to be labels", "check its shape")
        return _strings(dataset)

    def _check_size(self, name: str, dataset: h5py.Dataset, size: int) -> None:
        # Rows that were never written take no room: a few bytes could claim any number of images.
        claimed = dataset.size * dataset.dtype.itemsize
        if claimed > MAX_PACKING * size or math.prod(dataset.shape[1:]) > MAX_FILE_BYTES:
            raise SourceError(
                f"{self._path}: dataset {name} claims shape {dataset.shape} in a file of {size:,} bytes",
                "make the file again",
            )


def _open_h5(path: Path) -> h5py.File:
    import h5py  # heavy, and only this source needs it

    # Compressed chunks hold many rows: without room for one, each row would unpack its whole chunk again.
    return h5py.File(path, "r", rdcc_nbytes=64 << 20)


def _dataset(file: h5py.File, name: str, where: str) -> h5py.Dataset:
    """Return a dataset stored in this very file as plain values; SourceError for anything else."""
    import h5py

    problem = ""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        problem = "a link"
    elif not isinstance(dataset := file[name], h5py.Dataset) or dataset.shape is None:
        problem = "no array"
    elif dataset.is_virtual or dataset.external:
        problem = "stored in other files"
    elif dataset.dtype.kind not in "biufS" and not h5py.check_string_dtype(dataset.dtype):
        problem = f"of type {dataset.dtype}"
    if problem:
        raise SourceError(f"{where}: dataset {name} is {problem}, expected plain values", "copy the values into it")
    return dataset


def _strings(dataset: h5py.Dataset) -> npt.NDArray[Any]:
    if dataset.dtype.kind in "SO":
        return np.asarray(dataset.asstr()[()]).astype(str)
    return np.asarray(dataset[()])


def h5(spec: str, memo: Memo | None) -> dict[str, ArraySource]:
    """Open an HDF5 file's datasets, named as the arrays of an ``.npz``: ``X`` and ``y``, ``X_train``, ...

    Links, virtual datasets and external storage are never followed, since they lead to other files.

    Raises
    ------
    SourceError
        For a file that is no HDF5, or other datasets than those.
    """
    path = expanded(spec)
    try:
        with _open_h5(path) as file:
            return split_arrays(spec, H5Arrays(path, file, memo), StackSource)
    except SourceError:
        raise
    except Exception as exc:  # h5py raises OSError, KeyError, RuntimeError, ... for damage
        reason = " ".join(str(exc).split())[:200]
        raise SourceError(f"{spec} is not a readable HDF5 file: {reason}", "write or copy it again") from exc
