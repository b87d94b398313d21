"""Stored features as NumPy's own files: .npz with everything, .npy with the features alone."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np

from featx.cache.plain import plain_text
from featx.cache.table import FeatureTable

_BLOCK = 65_536
"""Ids made into an array at once."""

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The zip format's zero: equal features give equal files."""


def write_npy(file: IO[bytes], table: FeatureTable) -> None:
    """Write ``X`` as one .npy file, which `numpy.load` can map into memory."""
    _write_array(file, table.shape, table.dtype, table.iter_chunks())


def write_npz(file: IO[bytes], table: FeatureTable) -> None:
    """Write an uncompressed .npz without pickled objects, in flat memory.

    It holds ``X`` (n, d); ``ids``; ``labels`` (int64, -1 for a row without one) and ``classes`` where the table
    has labels; ``key``, the key as JSON.
    """
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        _add(archive, "X", table.shape, table.dtype, table.iter_chunks())
        _add_text(archive, "ids", table.iter_ids, len(table))
        if table.y is not None:
            _add(archive, "labels", table.y.shape, table.y.dtype, [table.y])
            _add_text(archive, "classes", lambda: iter(table.classes), len(table.classes))
        key = np.array(json.dumps(table.key, sort_keys=True))
        _add(archive, "key", (), key.dtype, [key])


def _add_text(archive: zipfile.ZipFile, name: str, values: Callable[[], Iterator[str]], n: int) -> None:
    """Add n texts, which are gone through twice and never all in memory."""
    width = max((len(plain_text(value)) for value in values()), default=1)
    dtype = np.dtype(f"<U{max(1, width)}")
    texts = map(plain_text, values())
    parts = (np.array(list(itertools.islice(texts, _BLOCK)), dtype) for _ in range(0, n, _BLOCK))
    _add(archive, name, (n,), dtype, parts)


def _add(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    parts: Iterable[np.ndarray[Any, Any]],
) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy", _FIRST_DATE), "w", force_zip64=True) as member:
        _write_array(member, shape, dtype, parts)


def _write_array(
    file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[np.ndarray[Any, Any]]
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(part.reshape(-1).view(np.uint8).data)
