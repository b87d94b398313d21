"""Which rows of a key are present, where few are not."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class PresentRows:
    """The rows of a key that are not skipped, as an array of them would be indexed; it holds the skipped ones only.

    Parameters
    ----------
    n_rows : int
        Rows of the key.
    skipped : ndarray of int64, shape (k,)
        Those that are skipped, rising.
    """

    def __init__(self, n_rows: int, skipped: Array) -> None:
        self._n_rows = n_rows
        self._skipped = skipped
        # Before skipped row i lie so many present ones.
        self._before = skipped - np.arange(len(skipped))

    def __len__(self) -> int:
        return self._n_rows - len(self._skipped)

    def __getitem__(self, numbers: Array) -> Array:
        """Return the rows of the key that some of the present ones are."""
        rows: Array = numbers + np.searchsorted(self._before, numbers, side="right")
        return rows

    def places(self, rows: Array | list[int]) -> Array:
        """Return how many present rows lie before some rows of the key."""
        wanted = np.asarray(rows, np.int64)
        places: Array = wanted - np.searchsorted(self._skipped, wanted)
        return places


class ChosenRows:
    """Some rows of a key, held in an array.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Rows of the key, rising.
    """

    def __init__(self, rows: Array) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, numbers: Array) -> Array:
        """Return the rows of the key that some of the chosen ones are."""
        rows: Array = self._rows[numbers]
        return rows

    def places(self, rows: Array | list[int]) -> Array:
        """Return how many chosen rows lie before some rows of the key."""
        places: Array = np.searchsorted(self._rows, rows)
        return places
