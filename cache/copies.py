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

from featx.cache.entries import digests_in
from featx.cache.folder import KeyFolder
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, Receipt, is_unreadable
from featx.core.hashing import canonical_json
from featx.errors import StoreError

Array = np.ndarray[Any, Any]


def first_duplicates(hashes: Array) -> Array:
    """Return for each row the first row of equal content, int64 (n,); unreadable rows equal only themselves.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, 32)
        The row hashes.
    """
    rows = np.arange(len(hashes), dtype=np.int64)
    if not len(hashes):
        return rows
    _, index, inverse = np.unique(_short(hashes), return_index=True, return_inverse=True)
    first: Array = index[inverse.reshape(-1)].astype(np.int64)
    equal = (hashes == hashes[first]).all(axis=1) & ~is_unreadable(hashes)
    return np.where(equal, first, rows)


def _short(hashes: Array) -> Array:
    """Return the first eight bytes of each hash: what is found by them is compared whole."""
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64).reshape(-1)


@dataclass(frozen=True)
class ReusableRows:
    """What a sibling has of a key's rows.

    Parameters
    ----------
    folder, plan, receipts : KeyFolder, Plan, dict of int to Receipt
        The sibling and its finished shards.
    rows, theirs : ndarray of int64, shape (m,)
        Rows of the key, rising, and the sibling's rows that equal them.
    """

    folder: KeyFolder
    plan: Plan
    receipts: Mapping[int, Receipt]
    rows: Array
    theirs: Array

    def read(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return the rows lent of `start` to `stop`, and their features (m, columns)."""
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return self.rows[part], read_rows(self.folder, self.plan, self.receipts, self.theirs[part])


def read_rows(folder: KeyFolder, plan: Plan, receipts: Mapping[int, Receipt], rows: Array) -> Array:
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
    folder.refuse_links()
    key, plan = folder.key(), folder.plan().plan
    theirs = folder.row_hashes(key)
    receipts = folder.valid_receipts(plan, key["n_rows"])
    mask = np.zeros(len(theirs), bool)
    for receipt in receipts.values():
        mask[receipt.start : receipt.stop] = True
        mask[[row for row, _ in receipt.skipped]] = False
    present = np.flatnonzero(mask)
    order = present[np.argsort(_short(theirs[present]), kind="stable")]
    rows = np.flatnonzero(lacking)
    if not len(order):
        return ReusableRows(folder, plan, receipts, rows[:0], order)
    at = np.searchsorted(_short(theirs[order]), _short(hashes[rows]))
    candidates = order[np.minimum(at, len(order) - 1)]
    equal = (theirs[candidates] == hashes[rows]).all(axis=1)
    return ReusableRows(folder, plan, receipts, rows[equal], candidates[equal])
