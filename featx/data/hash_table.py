"""Remembered hashes of many rows or files, kept in arrays: a million of them take 70 MB, not 700."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import is_unreadable
from featx.core.file_stamps import is_settled

Hashes = npt.NDArray[np.uint8]
Stamps = npt.NDArray[np.uint64]
FileTags = npt.NDArray[np.uint64]


def tags(names: Sequence[str]) -> FileTags:
    """Return the first 64 bits of each name's BLAKE2b: beside its stamp, enough to tell a file from all others."""
    found = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(found, "<u8").astype(np.uint64)


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

    def get(self, rows: npt.NDArray[np.int64], digest: Callable[[int], bytes]) -> Hashes:
        """Return those of `rows`, uint8 (m, 32); `digest` gives one that is not known, or what stands for it."""
        known = self._table()
        # No SHA-256 is zero throughout.
        wanted = np.unique(rows)
        missing = wanted[~known[wanted].any(axis=1)].tolist()
        for row in missing:
            known[row] = np.frombuffer(digest(row), np.uint8)
        if missing and self._memo and is_settled(self._about["stamp"]):
            kept = known.copy()
            kept[is_unreadable(known)] = 0
            self._memo.put_bytes(self._kind, self._about, kept.tobytes())
        return known[rows]

    def _table(self) -> Hashes:
        if self._known is None:
            data = self._memo.get_bytes(self._kind, self._about) if self._memo else None
            if data is None or len(data) != 32 * self._n:
                data = bytes(32 * self._n)
            self._known = np.frombuffer(data, np.uint8).reshape(-1, 32).copy()
        return self._known
