"""Columns of features that say nothing: always zero, or always the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featx.audit.rows import Rows
from featx.errors import FeatureError

BLOCK_VALUES = 2**21
"""Values that are read at a time."""


@dataclass(frozen=True)
class SilentColumns:
    """Columns without information.

    Parameters
    ----------
    columns : int
        All of them.
    dead : list of int
        Zero in every row: units that no image excites.
    constant : list of int
        The same in every row, but not zero.
    """

    columns: int
    dead: list[int]
    constant: list[int]


def silent_columns(X: Rows) -> SilentColumns:
    """Find the columns that are the same in all rows, reading them block by block.

    Parameters
    ----------
    X : Rows
        Features of shape (n, d), of one row at least.

    Raises
    ------
    FeatureError
        There is no row, or a value is NaN.
    """
    n, columns = X.shape
    if not n:
        raise FeatureError("no rows of features, expected one at least")
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    step = max(1, BLOCK_VALUES // max(1, columns))
    for start in range(0, n, step):
        block = np.asarray(X[start : min(start + step, n)])
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    if np.isnan(low).any():
        raise FeatureError(f"column {int(np.isnan(low).argmax())} of the features holds NaN, expected finite numbers")
    same = low == high
    return SilentColumns(
        columns, np.flatnonzero(same & (low == 0)).tolist(), np.flatnonzero(same & (low != 0)).tolist()
    )
