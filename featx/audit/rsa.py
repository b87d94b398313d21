"""Representational similarity analysis: do layers agree on which rows are far apart?"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from featx.audit.rows import Floats

SAME = 1e-9
"""Distances that differ by less than this share of the largest differ by rounding."""


def dissimilarities(X: Floats) -> Floats:
    """Return the Euclidean distances of all pairs of m rows, (m (m - 1) / 2,).

    As with CKA, orthogonal maps change nothing, and isotropic scaling nothing but the unit.
    """
    from scipy.spatial.distance import squareform
    from sklearn.metrics.pairwise import euclidean_distances

    found: Floats = squareform(euclidean_distances(X - X.mean(axis=0)), checks=False)
    return found


def correlations(distances: Floats) -> tuple[Floats, Floats]:
    """Return Pearson's and Spearman's correlations of layers' distances, (layers, layers) each.

    Parameters
    ----------
    distances : ndarray of shape (layers, pairs)
        Where all of a layer's are equal, its correlations are NaN.
    """
    low, high = distances.min(axis=1), distances.max(axis=1)
    flat = high - low <= SAME * high
    ranks = np.stack([rankdata(row) for row in distances])
    return _pearson(distances, flat), _pearson(ranks, flat)


def _pearson(values: Floats, flat: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    centred = values - values.mean(axis=1, keepdims=True)
    norms = np.where(flat, np.nan, np.linalg.norm(centred, axis=1))
    centred /= norms[:, None]
    found: Floats = np.clip(centred @ centred.T, -1, 1)
    return found
