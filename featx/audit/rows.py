"""Rows of features that lie in several tables, and only those that all layers have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.cache.table import FeatureMatrix, FeatureTable

Floats = NDArray[np.float64]


class Rows(Protocol):
    """Features of shape (n, d) that are read when they are asked for: an array, a `FeatureMatrix`, `StackedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns)."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the rows of a slice without a step, or of an ascending array of row numbers."""


class StackedRows:
    """The rows of several matrices, one below the other, read when they are asked for.

    Parameters
    ----------
    parts : sequence of FeatureMatrix
        At least one, all with the same number of columns.
    """

    def __init__(self, parts: Sequence[FeatureMatrix]) -> None:
        self._parts = parts
        self._edges = np.cumsum([0, *map(len, parts)])
        self.shape: tuple[int, ...] = (int(self._edges[-1]), parts[0].shape[1])

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the rows of a slice without a step, or of an ascending array of row numbers, (m, d)."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            spans = [np.clip([start, stop], low, high) - low for low, high in self._bounds()]
            found = [part[a:b] for part, (a, b) in zip(self._parts, spans, strict=True) if b > a]
        else:
            numbers = np.asarray(rows)
            own = [numbers[(numbers >= low) & (numbers < high)] - low for low, high in self._bounds()]
            found = [part[one] for part, one in zip(self._parts, own, strict=True) if len(one)]
        return found[0] if len(found) == 1 else np.concatenate([self._parts[0][:0], *found])

    def _bounds(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(self._edges.tolist()))


def rows_in_all(
    tables: Mapping[str, Mapping[str, FeatureTable]],
) -> tuple[dict[str, StackedRows], dict[str, int], int]:
    """Return each layer's rows, without those that any layer lacks.

    Parameters
    ----------
    tables : mapping of str to mapping of str to FeatureTable
        By layer, then by split; the same splits of the same images for every layer.

    Returns
    -------
    features : dict of str to StackedRows
        By layer, the splits one below the other.
    counts : dict of str to int
        Rows by split.
    lacking : int
        Rows that were left out, because the image was skipped for one layer or more.
    """
    splits = list(next(iter(tables.values())))
    common: dict[str, NDArray[np.int64]] = {
        split: reduce(np.intersect1d, (table[split].rows for table in tables.values())) for split in splits
    }
    features = {
        name: StackedRows([_only(table[split], common[split]) for split in splits]) for name, table in tables.items()
    }
    first = next(iter(tables.values()))
    lacking = sum(first[split].key["n_rows"] - len(common[split]) for split in splits)
    return features, {split: len(rows) for split, rows in common.items()}, lacking


def _only(table: FeatureTable, rows: NDArray[np.int64]) -> FeatureMatrix:
    """Return a table's features of these rows of its source."""
    return table.X if len(rows) == len(table) else table.X.subset(np.searchsorted(table.rows, rows))
