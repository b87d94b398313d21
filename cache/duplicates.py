"""Rows of equal content, found in memory that depends on how many there are, not on how many rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache.schema import is_unreadable

Array = np.ndarray[Any, Any]

_PART_ROWS = 1 << 23
"""So many rows are sorted at once: about 300 MB."""

_CHUNK_ROWS = 1 << 20
"""Rows looked at or compared at once."""

_MARKS = 24
"""Bits of a hash by which most rows are told at once to have no equal one."""


@dataclass(frozen=True)
class Duplicates:
    """The rows that equal an earlier one.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        These rows, rising.
    first : ndarray of int64, shape (m,)
        For each the first row of its content.
    """

    rows: Array
    first: Array

    def between(self, start: int, stop: int) -> Duplicates:
        """Return those from `start` on, before `stop`; what they equal may lie before."""
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return Duplicates(self.rows[part], self.first[part])


NONE = Duplicates(np.empty(0, np.int64), np.empty(0, np.int64))


def find_duplicates(hashes: Array) -> Duplicates:
    """Return the rows that equal an earlier one; unreadable rows equal only themselves.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, 32)
        The row hashes.
    """
    short = short_hashes(hashes)
    parts = -(-len(short) // _PART_ROWS)
    found = [_equal_to_earlier(hashes, _candidates(short, part, parts)) for part in range(parts)]
    if not found:
        return NONE
    rows, first = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.argsort(rows)
    return Duplicates(rows[order], first[order])


def short_hashes(hashes: Array) -> Array:
    """Return the first eight bytes of each hash as a number: what is found by them is compared whole."""
    words: Array = np.ascontiguousarray(hashes).view("<u8")
    return words[:, 0]


def equal_rows(a: Array, rows_a: Array, b: Array, rows_b: Array) -> Array:
    """Return the (m,) mask of pairs of rows whose whole hashes are equal."""
    equal = np.empty(len(rows_a), bool)
    for at in range(0, len(equal), _CHUNK_ROWS):
        part = slice(at, at + _CHUNK_ROWS)
        equal[part] = (a[rows_a[part]] == b[rows_b[part]]).all(axis=1)
    return equal


def _candidates(short: Array, part: int, parts: int) -> Array:
    """Return the rows, rising, of one part of all hashes that may have an equal one: few where few have."""
    rows = _rows_of(short, part, parts)
    words = short[rows]
    ordered = np.sort(words)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    mask = np.uint64((1 << _MARKS) - 1)
    marked = np.zeros(1 << _MARKS, bool)
    marked[repeated & mask] = True
    candidates: Array = rows[marked[words & mask]]
    return candidates


def _rows_of(short: Array, part: int, parts: int) -> Array:
    """Return the rows whose hashes belong to one of so many parts: equal ones all to the same."""
    if parts == 1:
        return np.arange(len(short))
    found = []
    for start in range(0, len(short), _CHUNK_ROWS):
        # Their upper half, which the marks do not look at.
        mine = (short[start : start + _CHUNK_ROWS] >> np.uint64(32)) % np.uint64(parts) == part
        found.append(start + np.flatnonzero(mine))
    return np.concatenate(found)


def _equal_to_earlier(hashes: Array, rows: Array) -> tuple[Array, Array]:
    """Return those of some rising rows that equal an earlier one of them, and the first such."""
    words = short_hashes(hashes[rows])
    order = np.argsort(words, kind="stable")  # equal ones keep their order
    begins = np.append(True, words[order][1:] != words[order][:-1])[: len(order)]
    first = rows[order][np.flatnonzero(begins)[np.cumsum(begins) - 1]] if len(order) else rows
    rows = rows[order]
    later = rows != first
    rows, first = rows[later], first[later]
    equal = equal_rows(hashes, rows, hashes, first) & ~is_unreadable(hashes[rows])
    return rows[equal], first[equal]
