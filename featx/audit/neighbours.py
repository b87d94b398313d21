"""Nearest neighbours among many rows: exact, block by block, each pair of blocks multiplied once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featx.core.specs import Progress, no_progress

BLOCK = 1024
"""Rows of a block: the product of two, 4 MB, stays in a processor's cache while it is looked at."""

STRIPES = 32
"""Parts of a row whose maxima tell which columns can be among its best: all columns need not be sorted."""


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
    found = Best(n, min(k, n - 1))
    rows = torch.from_numpy(Z)
    parts = in_parts(torch.arange(n), BLOCK)
    multiply = Products(BLOCK)
    done, all_of = 0, len(parts) * (len(parts) + 1) // 2
    for i, above in enumerate(parts):
        for beside in parts[i:]:
            product = multiply(rows[above[0] : above[-1] + 1], rows[beside[0] : beside[-1] + 1])
            if beside is above:
                product.fill_diagonal_(-2)
            else:
                found.see(product.T, beside, above)
            found.see(product, above, beside)
            done += 1
            progress("neighbours", done * n // all_of, n)
    return found.pairs()


def in_parts(rows: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return row numbers in parts of at most so many; none where there are no rows."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Products:
    """Products of two blocks, in memory that is taken once: a new piece for each would double their time.

    Parameters
    ----------
    rows : int
        Of each block, at most.
    """

    def __init__(self, rows: int) -> None:
        self._held = torch.empty(rows * rows)

    def __call__(self, above: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """Return the products of rows (r, d) with rows (c, d), (r, c); the next call overwrites them."""
        product = self._held[: len(above) * len(beside)].view(len(above), len(beside))
        return torch.mm(above, beside.T, out=product)


class Best:
    """The k best columns of each row so far.

    Parameters
    ----------
    n, k : int
        Rows, and columns that are kept of each.

    Attributes
    ----------
    values : tensor of float32 of shape (n, k)
        The best products of each row, the largest first; -inf where it was shown fewer.
    """

    def __init__(self, n: int, k: int) -> None:
        self._k = max(0, k)
        self.values = torch.full((n, self._k), -torch.inf)
        self._columns = torch.full((n, self._k), -1, dtype=torch.int64)

    def see(self, product: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Look at the products, (r, c), of rows and columns with these numbers; no pair may be shown twice."""
        if not self._k:
            return
        # After a few blocks most rows have nothing better in the next one: to know that, its maximum is enough.
        hot = torch.nonzero(product.amax(dim=1) > self.values[rows, -1]).flatten()
        if not len(hot):
            return
        values, places = _largest(product[hot], self._k)
        some = rows[hot]
        joined = torch.cat([self.values[some], values], dim=1).topk(self._k, dim=1)
        known = torch.cat([self._columns[some], columns[places]], dim=1)
        self.values[some] = joined.values
        self._columns[some] = known.gather(1, joined.indices)

    def pairs(self) -> Pairs:
        """Return what was found, each pair once."""
        n, k = self.values.shape
        # By rank, so that of a pair found from both sides the lower one comes first.
        first = np.tile(np.arange(n), k)
        second, cosine = self._columns.T.reshape(-1).numpy(), self.values.T.reshape(-1).numpy()
        rank = np.repeat(np.arange(k), n)
        known = second >= 0
        if not known.all():
            first, second, cosine, rank = first[known], second[known], cosine[known], rank[known]
        a, b = np.minimum(first, second), np.maximum(first, second)
        _, once = np.unique(a * n + b, return_index=True)
        once = once[np.argsort(-cosine[once], kind="stable")]
        return Pairs(a[once], b[once], cosine[once], rank[once])


def _largest(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest of each row, and their places; fewer where a row is shorter.

    They lie in those k of its stripes, every so many columns one, that have the largest maxima.
    """
    rows, columns = values.shape
    width = columns // STRIPES
    if width <= 2 * k:
        top = values.topk(min(k, columns), dim=1)
        return top.values, top.indices
    striped = values[:, : STRIPES * width].reshape(rows, STRIPES, width)
    stripes = striped.amax(dim=1).topk(k, dim=1).indices
    places = (torch.arange(STRIPES)[None, :, None] * width + stripes[:, None, :]).flatten(1)
    rest = torch.arange(STRIPES * width, columns).expand(rows, -1)
    places = torch.cat([places, rest], dim=1)
    top = values.gather(1, places).topk(k, dim=1)
    return top.values, places.gather(1, top.indices)
