"""One key's features with their labels and ids."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.cache.folder import KeyFolder, StoredPlan
from featx.cache.ids import StoredIds
from featx.cache.matrix import Array, FeatureMatrix
from featx.cache.present import PresentRows
from featx.cache.receipts import Receipts
from featx.cache.schema import renamed

__all__ = ["FeatureMatrix", "FeatureTable"]


class FeatureTable:
    """One key's features with their labels and ids; rows that were skipped do not appear.

    Made by `FeatureStore.open`.

    Parameters
    ----------
    folder : KeyFolder
        Where the shards are.
    key : dict
        The key, as stored.
    stored : StoredPlan
        How the features were computed and sharded.
    receipts : Receipts
        One per shard, in order.
    source : Source or None
        The key's images.

    Attributes
    ----------
    X : FeatureMatrix of shape (n, d)
        Lazy; ``numpy.asarray(table.X)`` reads it whole.
    y : ndarray of int64 of shape (n,), or None
        Labels of the source given to `FeatureStore.open`; -1 where unknown.
    classes : tuple of str
        The source's class names.
    key : dict
        The key, as stored.
    path : Path
        The key's folder.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from featx import FeatureExtractor, FeatureStore
    >>> images = np.zeros((3, 32, 32), np.uint8)
    >>> store = FeatureStore(tempfile.mkdtemp())
    >>> _ = FeatureExtractor("lenet5", "pool2", weights="random:0", store=store).transform(images)
    >>> table = store.open(store.ls()[0].digest)
    >>> table.shape, table.ids
    ((3, 400), ['000000', '000001', '000002'])
    >>> from torch.utils.data import DataLoader
    >>> [batch.shape for batch in DataLoader(table, batch_size=2)]
    [torch.Size([2, 400]), torch.Size([1, 400])]
    """

    def __init__(
        self,
        folder: KeyFolder,
        key: dict[str, Any],
        stored: StoredPlan,
        receipts: Receipts,
        source: Any,
    ) -> None:
        self.key = key
        self.path = folder.path
        self._folder = folder
        self._stored = stored
        self._receipts = receipts
        present = PresentRows(key["n_rows"], receipts.skipped) if len(receipts.skipped) else None
        self.X = FeatureMatrix(folder, stored, receipts, present)
        labels = getattr(source, "labels", None)
        self.y: Array | None = None if labels is None else np.delete(np.asarray(labels, np.int64), receipts.skipped)
        self.classes: tuple[str, ...] = tuple(getattr(source, "classes", None) or ())
        if source is not None:
            self._all_ids = source.ids

    @functools.cached_property
    def rows(self) -> Array:
        """Rows of the source that are present.

        Returns
        -------
        ndarray of int64 of shape (n,)
            Ascending.
        """
        return np.delete(np.arange(self.key["n_rows"]), self._receipts.skipped)

    @functools.cached_property
    def _stored_ids(self) -> StoredIds:
        return self._folder.ids(self.key, self._stored)

    @functools.cached_property
    def _all_ids(self) -> Sequence[str]:
        return self._stored_ids

    @functools.cached_property
    def ids(self) -> list[str]:
        """Ids of the present rows: the source's, or those from the first extraction."""
        return list(self.iter_ids())

    def iter_ids(self) -> Iterator[str]:
        """Return an iterator over `ids` that holds few of them at once.

        Returns
        -------
        iterator of str
            One per present row, in order.
        """
        if not len(self._receipts.skipped):
            return iter(self._all_ids)
        skipped = set(self._receipts.skipped.tolist())
        return (name for row, name in enumerate(self._all_ids) if row not in skipped)

    @property
    def skipped(self) -> list[tuple[int, str, str]]:
        """Rows that have no features: (row of the source, id, reason)."""
        told = []
        for index in self._receipts.shards_with_skipped():
            receipt = self._folder.receipt(index, self._stored.plan, self.key["n_rows"])
            for row, why in receipt.skipped:
                name = self._all_ids[row]
                told.append((row, name, renamed(why, self._stored_ids[row], name)))
        return told

    @property
    def shape(self) -> tuple[int, int]:
        """(present rows, columns)."""
        return self.X.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values."""
        return self.X.dtype

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: Any) -> Any:
        """Return a row, or the rows of a slice, a mask or an array of numbers, with labels if there are any.

        So a table is a data set for ``torch.utils.data.DataLoader``, including its workers.

        Returns
        -------
        ndarray of shape (d,) or (m, d)
            The features alone if `y` is None; else a tuple of them and an int, or an ndarray of shape (m,).

        Raises
        ------
        IndexError
            For rows that do not exist, and for columns, which `X` takes.
        """
        if isinstance(rows, tuple):
            raise IndexError("a table is indexed by rows; table.X also takes columns")
        features = self.X[rows]
        if self.y is None:
            return features
        return features, int(self.y[rows]) if features.ndim == 1 else self.y[rows]

    def __getitems__(self, rows: Sequence[int]) -> list[Any]:
        """Return several rows as a list, read together: torch's DataLoader asks so for a batch."""
        numbers = np.asarray(rows, np.int64)
        if self.y is None:
            return list(self.X[numbers])
        return list(zip(self.X[numbers], self.y[numbers].tolist(), strict=True))

    def iter_chunks(self, rows: int | None = None) -> Iterator[Array]:
        """Return an iterator over `X` in arrays of consecutive rows.

        Parameters
        ----------
        rows : int, optional
            See `FeatureMatrix.iter_chunks`.

        Returns
        -------
        iterator of ndarray of shape (rows, d)
            The features, in order.
        """
        return self.X.iter_chunks(rows)

    def iter_shuffled(
        self, rows: int | None = None, *, seed: int = 0, window: int | None = None
    ) -> Iterator[tuple[Array, Array]]:
        """Return an iterator over all rows in random order; see `FeatureMatrix.iter_shuffled`.

        Parameters
        ----------
        rows : int, optional
            Rows per chunk.
        seed : int
            Seed of the order.
        window : int, optional
            Rows in memory at once.

        Returns
        -------
        iterator of (ndarray of shape (rows,), ndarray of shape (rows, d))
            Row numbers, for which ``table.y[numbers]`` are the labels, and their features.
        """
        return self.X.iter_shuffled(rows, seed=seed, window=window)
