"""Rows with the same content: the same bytes, or the same pixels in another encoding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def groups_of(keys: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each row the first row with the same key, int64 (n,); itself where its key is not `known`.

    Parameters
    ----------
    keys : ndarray of uint8 of shape (n, b)
        Such as content hashes.
    known : ndarray of bool of shape (n,)
        False for rows that could not be read: nothing tells whether they are the same.
    """
    first = np.arange(len(keys))
    rows = np.flatnonzero(known)
    if len(rows):
        words = np.ascontiguousarray(keys[rows]).view(np.dtype((np.void, keys.shape[1]))).ravel()
        _, where, number = np.unique(words, return_index=True, return_inverse=True)
        first[rows] = rows[where[number.reshape(-1)]]
    return first


def pairs_of(first: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return each row that is not the first of its group, after that first one."""
    return [(int(first[row]), row) for row in np.flatnonzero(first != np.arange(len(first))).tolist()]


class Components:
    """Which rows hang together by pairs: a union-find."""

    def __init__(self, n: int) -> None:
        self._above = list(range(n))

    def join(self, a: int, b: int) -> None:
        """Put two rows' groups together."""
        low, high = sorted((self.top(a), self.top(b)))
        self._above[high] = low

    def top(self, row: int) -> int:
        """Return the first row of a row's group."""
        while self._above[row] != row:
            self._above[row] = self._above[self._above[row]]
            row = self._above[row]
        return row

    def numbers(self) -> NDArray[np.int64]:
        """Return the first row of each row's group, int64 (n,)."""
        return np.array([self.top(row) for row in range(len(self._above))], np.int64)


def components(n: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return a number for each of n rows, the same for those that hang together by pairs, int64 (n,)."""
    found = Components(n)
    for a, b in pairs:
        found.join(a, b)
    return found.numbers()
