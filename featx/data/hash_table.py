"""Remembered hashes of many rows or files, kept in arrays: a million of them take 70 MB, not 700.

Those of more than a few million are kept as several memos. Each file and each row is remembered for itself: memos of
different ages, as an interruption or another process leaves them, go together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import MAX_MEMO_BYTES, Memo
from featx.cache.schema import is_unreadable
from featx.core.file_stamps import is_settled

Hashes = npt.NDArray[np.uint8]
Stamps = npt.NDArray[np.uint64]
FileTags = npt.NDArray[np.uint64]


_PART_FILES = 1 << 21
"""Files of a folder remembered in one memo, about: 150 MB."""

_MAX_BITS = 12
"""Of a tag that say in which memo it is: enough for 8 billion files."""

_PART_ROWS = MAX_MEMO_BYTES // 32 - 1
"""Rows of a file remembered in one memo."""

_TAGGED = 65_536
"""Names whose tags are made at once."""


def tags(names: Sequence[str]) -> FileTags:
    """Return the first 64 bits of each name's BLAKE2b: beside its stamp, enough to tell a file from all others."""
    found = np.empty(len(names), np.uint64)
    for start in range(0, len(names), _TAGGED):
        some = (name.encode("utf-8", "surrogatepass") for name in names[start : start + _TAGGED])
        joined = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in some)
        found[start : start + _TAGGED] = np.frombuffer(joined, "<u8")
    return found


@dataclass(frozen=True)
class FileTable:
    """Files' tags (n,), their stamps (n, 4) and their hashes (n, 32), sorted by tag."""

    tags: FileTags
    stamps: Stamps
    hashes: Hashes

    @classmethod
    def from_bytes(cls, data: bytes | None) -> FileTable:
        """Return the table that `to_bytes` made; an empty one for anything else."""
        n, rest = divmod(len(data or b""), 72)
        data = data if data and not rest else b""
        n = n if data else 0
        return cls(
            np.frombuffer(data, "<u8", n),
            np.frombuffer(data, "<u8", 4 * n, 8 * n).reshape(-1, 4),
            np.frombuffer(data, np.uint8, 32 * n, 40 * n).reshape(-1, 32),
        )

    def to_bytes(self) -> bytes:
        """Return the three arrays one behind the other."""
        parts = (self.tags.astype("<u8"), self.stamps.astype("<u8"), self.hashes)
        return b"".join(np.ascontiguousarray(part).data for part in parts)

    def look_up(self, wanted: FileTags, stamps: Stamps) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Return the hashes of files, shape (m, 32), and the positions of those that are not known so."""
        found = np.zeros((len(wanted), 32), np.uint8)
        if not len(self.tags):
            return found, np.arange(len(wanted))
        at = np.minimum(np.searchsorted(self.tags, wanted), len(self.tags) - 1)
        same = (self.tags[at] == wanted) & (self.stamps[at] == stamps).all(axis=1)
        found[same] = self.hashes[at[same]]
        return found, np.flatnonzero(~same)

    def part(self, number: int, bits: int) -> FileTable:
        """Return the files whose tags begin with these bits."""
        prefixes = [number << (64 - bits), min(((number + 1) << (64 - bits)) - 1, (1 << 64) - 1)]
        first, last = (np.uint64(prefix) for prefix in prefixes)
        mine = slice(int(np.searchsorted(self.tags, first)), int(np.searchsorted(self.tags, last, side="right")))
        return FileTable(self.tags[mine], self.stamps[mine], self.hashes[mine])

    def updated(self, new: FileTable, listed: FileTags | None) -> FileTable:
        """Return a table with `new` files in it, and without those that are not `listed` any more.

        The same table where nothing changes; all are kept where there is no listing.
        """
        keep = ~np.isin(self.tags, new.tags)
        if listed is not None:
            keep &= np.isin(self.tags, listed)
        if not len(new.tags) and keep.all():
            return self
        joined = np.concatenate([self.tags[keep], new.tags])
        _, order = np.unique(joined, return_index=True)
        return FileTable(
            joined[order],
            np.concatenate([self.stamps[keep], new.stamps])[order],
            np.concatenate([self.hashes[keep], new.hashes])[order],
        )


class FileMemory:
    """The hashes of a folder's files, kept as one memo or, of many files, as several, by their tags' first bits.

    Parameters
    ----------
    memo : Memo, optional
        Where they are kept; without one nothing is known.
    about : mapping
        What tells this folder's hashes from others.
    listed : ndarray of uint64, optional
        Tags of all files in the folder, where they are known: others are forgotten.
    """

    _KIND = "folder"

    def __init__(self, memo: Memo | None, about: Mapping[str, Any], listed: FileTags | None) -> None:
        self._memo, self._about = memo, about
        self._listed = None if listed is None else np.sort(listed)
        self._bits = self._kept_bits()
        self._last: tuple[int, int, FileTable] | None = None

    def look_up(self, wanted: FileTags, stamps: Stamps) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Return the hashes of files, shape (m, 32), and the positions of those that are not known so."""
        if self._memo is None:
            return np.zeros((len(wanted), 32), np.uint8), np.arange(len(wanted))
        found, missing = np.zeros((len(wanted), 32), np.uint8), []
        for part, places in _by_part(wanted, self._bits):
            hashes, unknown = self._table(self._bits, part).look_up(wanted[places], stamps[places])
            found[places] = hashes
            missing.append(places[unknown])
        return found, np.sort(np.concatenate([np.empty(0, np.int64), *missing]))

    def update(self, new: FileTable) -> None:
        """Remember `new` files and forget those that are not listed; memos that stay the same are not written.

        More files than so many memos are for are kept in more of them from now on, never again in fewer: the folder's
        other sources, which may know of fewer files, must find them.
        """
        if self._memo is None:
            return
        self._bits = self._kept_bits()  # another process may have made more of them
        known = len(self._table(self._bits, 0).tags) << self._bits
        files = known + len(new.tags) if self._listed is None else len(self._listed)
        bits = min(_MAX_BITS, max(self._bits, (-(-files // _PART_FILES) - 1).bit_length()))
        ours = dict(_by_part(new.tags, bits))
        theirs = {} if self._listed is None else dict(_by_part(self._listed, bits))
        # The first one last: where it is, all are (see _kept_bits).
        for part in reversed(range(1 << bits)):
            if bits == self._bits and self._listed is None and part not in ours:
                continue
            before = self._table(self._bits, part >> (bits - self._bits))
            mine = before if bits == self._bits else before.part(part, bits)
            places = ours.get(part, np.empty(0, np.int64))
            some = FileTable(new.tags[places], new.stamps[places], new.hashes[places])
            listed = None if self._listed is None else self._listed[theirs.get(part, np.empty(0, np.int64))]
            after = mine.updated(some, listed)
            if after is not before:
                self._memo.put_bytes(self._KIND, self._about_part(bits, part), after.to_bytes())
        if bits > self._bits:
            for part in range(1 << self._bits):
                self._memo.forget(self._KIND, self._about_part(self._bits, part))
        self._bits, self._last = bits, None

    def _kept_bits(self) -> int:
        """Return by how many bits the memos that are there are told apart."""
        there = (
            bits
            for bits in range(_MAX_BITS, 0, -1)
            if self._memo is not None and self._memo.has_bytes(self._KIND, self._about_part(bits, 0))
        )
        return next(there, 0)

    def _about_part(self, bits: int, part: int) -> Mapping[str, Any]:
        # One for all is what earlier versions have.
        return {**self._about, "part": part, "of": 1 << bits} if bits else self._about

    def _table(self, bits: int, part: int) -> FileTable:
        """Return one memo's table; the last one is kept."""
        if self._last is None or self._last[:2] != (bits, part):
            data = self._memo.get_bytes(self._KIND, self._about_part(bits, part)) if self._memo else None
            self._last = bits, part, FileTable.from_bytes(data)
        return self._last[2]


def _by_part(tags: FileTags, bits: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield, for each part that has any, which of the tags are in it, rising."""
    if not bits:
        if len(tags):
            yield 0, np.arange(len(tags))
        return
    parts = (tags >> np.uint64(64 - bits)).astype(np.uint16)
    order = np.argsort(parts, kind="stable")
    ends = np.cumsum(np.bincount(parts, minlength=1 << bits))
    for part, places in enumerate(np.split(order, ends[:-1])):
        if len(places):
            yield part, places


class RowHashes:
    """The SHA-256 of rows that lie in one file, remembered under the file's stamp.

    Parameters
    ----------
    kind : str
        Of the memo.
    about : mapping
        The stamp, under ``stamp``, and what else tells these rows from others in the file.
    n : int
        Rows in all.
    memo : Memo, optional
        Where they are kept.
    """

    def __init__(self, kind: str, about: Mapping[str, Any], n: int, memo: Memo | None) -> None:
        self._kind, self._about, self._n, self._memo = kind, about, n, memo
        self._known: Hashes | None = None
        self._starts = range(0, n, _PART_ROWS)

    def get(self, rows: npt.NDArray[np.int64], digest: Callable[[int], bytes]) -> Hashes:
        """Return those of `rows`, uint8 (m, 32); `digest` gives one that is not known, or what stands for it."""
        known = self._table()
        # No SHA-256 is zero throughout.
        wanted = np.unique(rows)
        missing = wanted[~known[wanted].any(axis=1)]
        for row in missing.tolist():
            known[row] = np.frombuffer(digest(row), np.uint8)
        if len(missing) and self._memo and is_settled(self._about["stamp"]):
            for start in self._starts:
                if np.searchsorted(missing, start) < np.searchsorted(missing, start + _PART_ROWS):
                    kept = known[start : start + _PART_ROWS].copy()
                    kept[is_unreadable(kept)] = 0
                    self._memo.put_bytes(self._kind, self._about_part(start), kept.tobytes())
        return known[rows]

    def _about_part(self, start: int) -> Mapping[str, Any]:
        return {**self._about, "from": start} if start else self._about

    def _table(self) -> Hashes:
        if self._known is None:
            self._known = np.zeros((self._n, 32), np.uint8)
            for start in self._starts:
                data = self._memo.get_bytes(self._kind, self._about_part(start)) if self._memo else None
                part = self._known[start : start + _PART_ROWS]
                if data is not None and len(data) == part.nbytes:
                    part[:] = np.frombuffer(data, np.uint8).reshape(-1, 32)
        return self._known
