"""Mutual nearest neighbours: do layers agree on which rows are close?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featx.audit.rows import Floats

Indices = NDArray[np.int64]


def neighbours(X: Floats, k: int) -> Indices:
    """Return the k rows of the largest cosine to each row, without itself, (m, k), found exactly, in blocks."""
    from sklearn.neighbors import NearestNeighbors

    found: Indices = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine").fit(X).kneighbors()[1]
    return found


def overlaps(found: Sequence[Indices | None]) -> Floats:
    """Return the mean share of neighbours that two layers have in common, (layers, layers).

    Huh et al. 2024 (The platonic representation hypothesis, arXiv:2405.07987), Appendix A. Independent layers have
    k / (m - 1) in common on average.

    Parameters
    ----------
    found : sequence of ndarray of shape (m, k), or None
        Neighbours by layer; None for a layer without any, whose shares are NaN.
    """
    shares = np.full((len(found), len(found)), np.nan)
    pairs = [None if one is None else (np.arange(len(one))[:, None] * len(one) + one).ravel() for one in found]
    for a, left in enumerate(pairs):
        for b, right in enumerate(pairs[: a + 1]):
            if left is not None and right is not None:
                shares[a, b] = shares[b, a] = np.isin(left, right).mean()
    return shares
