"""Rows that need not be computed: equal images of one data set, and rows that a sibling key has already.

Siblings are keys that differ in their rows alone: the same network, layer and preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.duplicates import equal_rows, short_hashes
from featx.cache.entries import digests_in
from featx.cache.folder import KeyFolder
from featx.cache.key import FeatureKey
from featx.cache.receipts import receipts_of
from featx.cache.schema import Plan, ShardFile, is_unreadable
from featx.core.hashing import canonical_json
from featx.errors import StoreError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ReusableRows:
    """What a sibling has of a key's rows.

    Parameters
    ----------
    folder, plan, receipts : KeyFolder, Plan, dict of int to ShardFile
        The sibling and its finished shards.
    rows, theirs : ndarray of int64, shape (m,)
        Rows of the key, rising, and the sibling's rows that equal them.
    """

    folder: KeyFolder
    plan: Plan
    receipts: Mapping[int, ShardFile]
    rows: Array
    theirs: Array

    def read(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return the rows lent of `start` to `stop`, and their features (m, columns)."""
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return self.rows[part], read_rows(self.folder, self.plan, self.receipts, self.theirs[part])


def read_rows(folder: KeyFolder, plan: Plan, receipts: Mapping[int, ShardFile], rows: Array) -> Array:
    """Return rows of finished shards in the order asked, each shard's hash checked.

    Raises
    ------
    CorruptStoreError, StoreError
        A shard is not what its receipt says.
    """
    out = np.empty((len(rows), plan.columns), plan.stored)
    shards = rows // plan.shard_rows
    for shard in np.unique(shards).tolist():
        receipt = receipts[shard]
        with folder.shard(receipt) as fd:
            for at in np.flatnonzero(shards == shard).tolist():
                folder.fill(fd, receipt, plan.row_bytes, int(rows[at]), out[at].view(np.uint8).data)
    return out


class ReuseIndex:
    """The keys of a store, by what they share with their siblings; small files are read, shards are not.

    Parameters
    ----------
    features : Path
        The folder of the keys' folders.
    """

    def __init__(self, features: Path) -> None:
        self._families: dict[bytes, list[KeyFolder]] = {}
        for folder in (KeyFolder(features / digest) for digest in digests_in(features)):
            with suppress(StoreError):  # what cannot be read cannot lend
                self._families.setdefault(_family(folder.key()), []).append(folder)

    def reusable(self, key: FeatureKey, hashes: Array) -> list[ReusableRows]:
        """Return what siblings have of a key's rows; no row is lent twice.

        Parameters
        ----------
        key : FeatureKey
            Whose rows are wanted.
        hashes : ndarray of uint8, shape (n, 32)
            Its row hashes.
        """
        lacking = ~is_unreadable(hashes)
        found: list[ReusableRows] = []
        for folder in self._families.get(_family(key.as_dict()), []):
            if folder.digest != key.digest and lacking.any():
                with suppress(StoreError):
                    reusable_rows = _reusable_rows(folder, hashes, lacking)
                    if len(reusable_rows.rows) and (not found or reusable_rows.plan.columns == found[0].plan.columns):
                        found.append(reusable_rows)
                        lacking[reusable_rows.rows] = False
        return found


def is_reused(reusable: Sequence[ReusableRows], n_rows: int) -> Array:
    """Return the (n,) mask of rows that are reusable."""
    mask = np.zeros(n_rows, bool)
    for reusable_rows in reusable:
        mask[reusable_rows.rows] = True
    return mask


def _family(key: Mapping[str, Any]) -> bytes:
    return canonical_json({name: value for name, value in key.items() if name not in ("rows", "n_rows")})


def _reusable_rows(folder: KeyFolder, hashes: Array, lacking: Array) -> ReusableRows:
    """Return what one sibling has of the rows that are lacking; its row hashes are read in chunks."""
    folder.refuse_links()
    key, plan = folder.key(), folder.plan().plan
    receipts = receipts_of(folder, plan, key["n_rows"])
    wanted = _Wanted(hashes, np.flatnonzero(lacking))
    start = 0
    for chunk in folder.row_hash_chunks(key):
        wanted.look_in(chunk, start, receipts.has_rows(start, start + len(chunk)))
        start += len(chunk)
    rows, theirs = wanted.found()
    return ReusableRows(folder, plan, {shard.index: shard for shard in receipts}, rows, theirs)


class _Wanted:
    """Rows that are looked for among others, which come in chunks: the first that is equal counts.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, 32)
        Of all rows of the key.
    rows : ndarray of int64, shape (m,)
        Those that are looked for, rising; at least one.
    """

    def __init__(self, hashes: Array, rows: Array) -> None:
        self._hashes = hashes
        words = short_hashes(hashes)[rows]
        order = np.argsort(words, kind="stable")
        self._rows, words = rows[order], words[order]
        # Rows whose hashes begin alike stand together; the first of them is looked for.
        begins = np.flatnonzero(np.append(True, words[1:] != words[:-1]))
        self._words, self._firsts = words[begins], self._rows[begins]
        self._group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(words))))
        self._theirs = np.full(len(begins), -1, np.int64)

    def look_in(self, chunk: Array, start: int, usable: Array) -> None:
        """Look among the usable rows of a chunk of hashes, the first of which is row `start`."""
        rows = np.flatnonzero(usable)
        words = short_hashes(chunk)[rows]
        order = np.argsort(words, kind="stable")
        rows, words = rows[order], words[order]
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        alike = (self._words[at] == words) & (self._theirs[at] < 0)
        rows, at = rows[alike], at[alike]
        equal = equal_rows(chunk, rows, self._hashes, self._firsts[at])
        # Backwards: of several equal ones the first stays.
        self._theirs[at[equal][::-1]] = start + rows[equal][::-1]

    def found(self) -> tuple[Array, Array]:
        """Return the rows that were found, rising, and which of the others each equals."""
        theirs = self._theirs[self._group]
        rows, firsts, theirs = (part[theirs >= 0] for part in (self._rows, self._firsts[self._group], theirs))
        equal = equal_rows(self._hashes, rows, self._hashes, firsts)
        rows, theirs = rows[equal], theirs[equal]
        rising = np.argsort(rows)
        return rows[rising], theirs[rising]
