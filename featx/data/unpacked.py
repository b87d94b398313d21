"""What was taken out of a checked archive, noted beside it: files that were cut or lost since are seen."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from featx.cache.memo import Memo
from featx.core.atomic import read_json, write_json
from featx.core.file_stamps import file_stamp, is_settled
from featx.errors import SourceError, StoreError

HASHED = 64
"""Up to this many files the MD5s are recorded too; image files are more, and reveal damage themselves."""

_MAX_BYTES = 1 << 26
"""Largest note that is read."""

# Sizes in bytes, and MD5s or None, by path.
Contents = dict[str, tuple[int, str | None]]


def note_contents(source: Path, tops: Sequence[str], note: Path) -> None:
    """Write down the sizes, and of few files the MD5s, of everything in folders that were just unpacked.

    Parameters
    ----------
    source : Path
        Where they lie now.
    tops : sequence of str
        The folders (or files), relative to `source`.
    note : Path
        Written atomically.
    """
    paths = sorted(_walk(source, tops))
    few = len(paths) <= HASHED
    write_json(note, {path: [(source / path).stat().st_size, md5_of(source / path) if few else None] for path in paths})


def check_contents(name: str, folder: Path, note: Path, memo: Memo | None) -> None:
    """Raise SourceError where a file of a data set is no longer what was unpacked; nothing where there is no note.

    Parameters
    ----------
    name : str
        The data set's.
    folder : Path
        What the note's paths are relative to.
    note : Path
        From `note_contents`.
    memo : Memo, optional
        Remembers MD5s.
    """
    if not note.is_file():
        return
    for path, (size, md5) in _read(note).items():
        found = _what_is_wrong(folder / path, size, md5, memo)
        if found:
            raise SourceError(
                f"data set {name} in {folder} cannot be read: {path} {found}",
                f"delete {folder / path.split('/')[0]} to have it unpacked again",
            )


def md5_of(path: Path, memo: Memo | None = None) -> str:
    """Return a file's MD5, hexadecimal, remembered under its stamp."""
    stamp = file_stamp(path)
    about = {"path": str(path), "stamp": stamp}
    known = memo.get("md5", about) if memo else None
    if known:
        return str(known)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if memo and is_settled(stamp) and file_stamp(path) == stamp:
        memo.put("md5", about, found)
    return found


def _walk(source: Path, tops: Sequence[str]) -> Iterator[str]:
    for top in tops:
        if not stat.S_ISDIR((source / top).stat().st_mode):  # FileNotFoundError where the archive lacks it
            yield top
        for at, _, names in os.walk(source / top):
            yield from (os.path.relpath(os.path.join(at, name), source).replace(os.sep, "/") for name in names)


def _read(note: Path) -> Contents:
    try:
        found: Any = read_json(note, _MAX_BYTES)
        return {str(path): (int(size), md5 and str(md5)) for path, (size, md5) in found.items()}
    except (StoreError, ValueError, TypeError, AttributeError) as exc:
        raise SourceError(f"{note} is damaged, expected sizes of what was unpacked", "delete it") from exc


def _what_is_wrong(path: Path, size: int, md5: str | None, memo: Memo | None) -> str:
    try:
        found = path.stat().st_size
        if found != size:
            return f"has {found:,} bytes, expected {size:,}: it was truncated or overwritten since it was unpacked"
        return "changed since it was unpacked" if md5 and md5_of(path, memo) != md5 else ""
    except OSError:
        return "went missing since it was unpacked"
