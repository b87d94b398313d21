"""Rows that are far from all others in feature space: what does not belong, and what is alone of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featx.audit.neighbours import BLOCK, Best, Products, in_parts
from featx.audit.rows import Floats, Rows
from featx.audit.whiten import on_axes
from featx.core.specs import Progress, no_progress

NEIGHBOURS = 10
"""Which nearest neighbour's distance counts. Fewer images of a kind are outliers even if they are alike."""

REFERENCE = 65_536
"""Neighbours are searched for among so many rows at most: time grows with them times all rows."""

FENCE = 3.0
"""Outliers are beyond the third quartile by more than so many interquartile ranges: Tukey's outer fence (1977,
Exploratory data analysis)."""


@dataclass(frozen=True)
class Outlier:
    """A row that is far from all but the nearest few.

    Parameters
    ----------
    id, split : str
        The row.
    distance : float
        From its k-th nearest neighbour, in standard deviations of the principal axes.
    usual : float
        The median of all rows' distances.
    """

    id: str
    split: str
    distance: float
    usual: float


def outlier_distances(
    X: Rows, k: int = NEIGHBOURS, *, reference: int = REFERENCE, seed: int = 0, progress: Progress = no_progress
) -> Floats:
    """Return each row's distance from its k-th nearest neighbour, of shape (n,), found exactly, block by block.

    Ramaswamy, Rastogi and Shim 2000 (Efficient algorithms for mining outliers from large data sets, SIGMOD). Distances
    are Euclidean, of features whitened along their first principal axes: lengths count, other than in a cosine. Rows
    stay far from all others though they have up to k - 1 duplicates.

    Parameters
    ----------
    X : Rows
        Features of shape (n, d); read twice, block by block. NaN and infinity are refused with FeatureError.
    k : int
        Which neighbour; the last one where there are fewer.
    reference : int
        Neighbours are searched for among so many rows, drawn by `seed` where there are more (Sugiyama and Borgwardt
        2013, Rapid distance-based outlier detection via sampling, NeurIPS).
    seed : int
        What draws them.
    progress : callable
        Called as ``progress("outliers", rows done, rows in all)``.

    Returns
    -------
    ndarray of float64
        NaN where there is only one row.
    """
    Z = torch.from_numpy(on_axes(X))
    n = len(Z)
    if n < 2:
        return np.full(n, np.nan)
    drawn = np.random.default_rng(seed).choice(n, reference, replace=False) if n > reference else np.arange(n)
    known = torch.from_numpy(np.sort(drawn))
    among = Z[known]
    half = (among**2).sum(dim=1) / 2
    found = Best(n, min(k, len(known) - 1))
    multiply = Products(BLOCK)
    for rows in in_parts(torch.arange(n), BLOCK):
        for columns in in_parts(torch.arange(len(known)), BLOCK):
            # The nearest are those with the largest of this: half the squared distance but for what is the row's own.
            nearness = multiply(Z[rows], among[columns]).sub_(half[columns])
            own = torch.nonzero((known[columns] >= rows[0]) & (known[columns] <= rows[-1])).flatten()
            nearness[known[columns[own]] - rows[0], own] = -torch.inf
            found.see(nearness, rows, columns)
        progress("outliers", int(rows[-1]) + 1, n)
    squares = (Z**2).sum(dim=1) - 2 * found.values[:, -1]
    return squares.clamp(min=0).sqrt().numpy().astype(np.float64)


def fence(distances: NDArray[np.float64]) -> float:
    """Return the distance beyond which a row is an outlier; NaN where no row has any."""
    known = distances[~np.isnan(distances)]
    if not len(known):
        return float("nan")
    low, high = np.quantile(known, [0.25, 0.75])
    return float(high + FENCE * (high - low))


def find_outliers(distances: NDArray[np.float64], ids: Sequence[str], splits: Sequence[str]) -> list[Outlier]:
    """Return the rows beyond the `fence`, the farthest first.

    Parameters
    ----------
    distances : ndarray of float64 of shape (n,)
        Of `outlier_distances`.
    ids, splits : sequence of str
        Of each row.
    """
    limit = fence(distances)
    far = np.flatnonzero(distances > limit)
    if not len(far):
        return []
    usual = float(np.nanmedian(distances))
    far = far[np.argsort(-distances[far], kind="stable")]
    return [Outlier(ids[row], splits[row], float(distances[row]), usual) for row in far.tolist()]
