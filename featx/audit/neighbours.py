"""Nearest neighbours among many rows: exact, block by block, each pair of blocks multiplied once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featx.core.specs import Progress, no_progress

BLOCK = 2048
"""Rows of a block: of a product of two, 16 MB are held."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, the most similar first.

    Parameters
    ----------
    a, b : ndarray of int64 of shape (m,)
        Row numbers, a < b; no pair is there twice.
    cosine : ndarray of float32 of shape (m,)
        How similar their features are.
    rank : ndarray of int64 of shape (m,)
        0 where one is the nearest neighbour of the other, 1 the second nearest, and so on; the lower of both ranks.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float32]
    rank: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.a)

    def nearest(self, k: int) -> Pairs:
        """Return those where one is among the k nearest of the other."""
        return self.where(self.rank < k)

    def union(self, other: Pairs) -> Pairs:
        """Return the pairs of both, each once, with the larger cosine and the lower rank."""
        a, b = np.concatenate([self.a, other.a]), np.concatenate([self.b, other.b])
        cosine, rank = np.concatenate([self.cosine, other.cosine]), np.concatenate([self.rank, other.rank])
        order = np.lexsort((-cosine, b, a))
        first = np.flatnonzero(np.r_[True, (np.diff(a[order]) != 0) | (np.diff(b[order]) != 0)][: len(order)])
        lowest = np.minimum.reduceat(rank[order], first) if len(first) else rank
        once, best = order[first], np.argsort(-cosine[order[first]], kind="stable")
        return Pairs(a[once[best]], b[once[best]], cosine[once[best]], lowest[best])

    def where(self, some: NDArray[np.bool_]) -> Pairs:
        """Return those that are marked, bool (m,)."""
        return Pairs(self.a[some], self.b[some], self.cosine[some], self.rank[some])


def neighbours(Z: NDArray[np.float32], k: int, progress: Progress = no_progress) -> Pairs:
    """Return each row's k nearest other rows by their products, as pairs.

    Parameters
    ----------
    Z : ndarray of float32 of shape (n, d)
        Rows of length 1, see `featx.audit.whiten`.
    k : int
        Neighbours a row; all others where there are fewer.
    progress : callable
        Told of the products done, in rows.
    """
    n = len(Z)
    k = min(k, n - 1)
    if k < 1:
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, np.empty(0, np.float32), nothing)
    found = _Best(n, k)
    rows = torch.from_numpy(Z)
    starts = range(0, n, BLOCK)
    done, all_of = 0, len(starts) * (len(starts) + 1) // 2
    for i in starts:
        for j in starts[i // BLOCK :]:
            product = rows[i : i + BLOCK] @ rows[j : j + BLOCK].T
            if i == j:
                product.fill_diagonal_(-2)
            found.see(product, i, j, 1)
            if i != j:
                found.see(product, j, i, 0)
            done += 1
            progress("neighbours", done * n // all_of, n)
    return found.pairs()


class _Best:
    """The k best columns of each row so far."""

    def __init__(self, n: int, k: int) -> None:
        self._k = k
        self._values = torch.full((n, k), -3.0)
        self._columns = torch.full((n, k), -1, dtype=torch.int64)

    def see(self, product: torch.Tensor, row: int, column: int, across: int) -> None:
        """Look at a block that begins at `row` and `column`; `across` is its dimension along a row."""
        rows = slice(row, row + product.shape[1 - across])
        values, columns = self._values[rows], self._columns[rows]
        # After a few blocks most rows have nothing better in the next one: to know that, its maximum is enough.
        hot = torch.nonzero(product.amax(dim=across) > values[:, -1]).flatten()
        if not len(hot):
            return
        some = product[hot] if across else product[:, hot].T.contiguous()
        top = some.topk(min(self._k, product.shape[across]), dim=1)
        joined = torch.cat([values[hot], top.values], dim=1).topk(self._k, dim=1)
        places = torch.cat([columns[hot], top.indices + column], dim=1)
        values[hot] = joined.values
        columns[hot] = places.gather(1, joined.indices)

    def pairs(self) -> Pairs:
        """Return what was found, each pair once."""
        n, k = self._values.shape
        # By rank, so that of a pair found from both sides the lower one comes first.
        first = np.tile(np.arange(n), k)
        second, cosine = self._columns.T.reshape(-1).numpy(), self._values.T.reshape(-1).numpy()
        rank = np.repeat(np.arange(k), n)
        a, b = np.minimum(first, second), np.maximum(first, second)
        _, once = np.unique(a * n + b, return_index=True)
        once = once[np.argsort(-cosine[once], kind="stable")]
        return Pairs(a[once], b[once], cosine[once], rank[once])
