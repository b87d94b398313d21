"""Stored features as one plain file, for people who have no featx."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from featx.cache.plain import Named
from featx.core.atomic import replacing, tidy
from featx.errors import OptionError, suggest

SUFFIXES = {".h5": "h5", ".hdf5": "h5", ".npz": "npz", ".npy": "npy", ".parquet": "parquet"}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))


def format_of(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Return the format that a file's name asks for, or the `format` that is asked for.

    Raises
    ------
    OptionError
        They differ, or neither says anything.
    """
    suffix = Path(path).suffix.lower()
    named = SUFFIXES.get(suffix)
    if format is not None and format not in FORMATS:
        raise OptionError(f"format {format!r}, expected {', '.join(FORMATS)}", suggest(format, FORMATS))
    if format is None and named is None:
        raise OptionError(f"{path} has no suffix that gives its format", f"expected {', '.join(SUFFIXES)}")
    if format is not None and named not in (None, format):
        raise OptionError(f"{path} ends in {suffix}, but the format is {format}", "change one of them")
    return str(format or named)


def check_one(format: str, tables: int) -> None:
    """Raise OptionError if a file of this format cannot hold this many tables, each one layer of one split."""
    if format != "h5" and tables != 1:
        raise OptionError(
            f"{tables} layers or splits for one {format} file, which holds only one", "write .h5, or choose one"
        )


def export(
    path: str | os.PathLike[str], tables: Sequence[Named], format: str | None = None, *, virtual: bool = False
) -> int:
    """Write features to one plain file, in flat memory, and return its size in bytes.

    Parameters
    ----------
    path : path
        Written under a temporary name beside it, then renamed; a regular file that stood there is replaced.
    tables : sequence of (layer, split, FeatureTable)
        Several for HDF5, one for the other formats.
    format : str, optional
        ``h5``, ``npz``, ``npy`` (the features alone) or ``parquet``; by default what the path's suffix says.
    virtual : bool
        HDF5 only: refer to the store's shards by relative paths instead of copying them. The shards must stay where
        they are; HDF5 reads NaN, without an error, for the rows of one that is gone, and checks no hash.

    Raises
    ------
    OptionError
        The format cannot hold the tables, or the path is no regular file.
    CorruptStoreError
        A shard is not what was written.
    DiskFullError, StoreError
        The file could not be written; what stood there is untouched.
    """
    path = Path(path)
    format = format_of(path, format)
    check_one(format, len(tables))
    if virtual and format != "h5":
        raise OptionError(f"only an HDF5 file can be virtual, and {path} is {format}", "give a file name like x.h5")
    _check_regular(path)
    tidy(path.parent)
    needed = 0 if virtual else sum(table.X.nbytes for _, _, table in tables)
    with replacing(path, needed) as fd:
        _write(fd, format, tables, path.parent if virtual else None)
    return path.stat().st_size


def _write(fd: int, format: str, tables: Sequence[Named], beside: Path | None) -> None:
    if format == "h5":
        from featx.cache.hdf5 import write_h5

        write_h5(fd, tables, beside)
        return
    (_, _, table), *_ = tables
    with open(fd, "wb", closefd=False) as file:
        if format == "npz":
            from featx.cache.npz import write_npz

            write_npz(file, table)
        elif format == "npy":
            from featx.cache.npz import write_npy

            write_npy(file, table)
        else:
            from featx.cache.parquet import write_parquet

            write_parquet(file, table)


def _check_regular(path: Path) -> None:
    """Raise OptionError for a folder, a link, or a device that a rename would destroy."""
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OptionError(
                f"{path} is not a regular file and is not replaced", "give a file name such as features.h5"
            )
