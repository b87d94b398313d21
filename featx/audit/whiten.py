"""Features made comparable by cosines: centred, whitened along their principal axes, and of length 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featx.audit.rows import Rows
from featx.errors import FeatureError

MOST_AXES = 128
"""Principal axes that are kept: the others hold noise, and cost as much."""

MOST_COLUMNS = 1024
"""Wider features are projected to so many columns at random, which keeps angles within a few hundredths."""

LEAST_SHARE = 1e-4
"""Axes with less of the first one's variance are left out: whitening would make noise of rounding errors."""

BLOCK = 8192

Floats = NDArray[np.float32]


def whitened(X: Rows, axes: int = MOST_AXES) -> Floats:
    """Return rows whose products are the cosines of whitened features, float32 (n, at most `axes`).

    X is read twice, block by block; what is returned is all that is held. A cosine of raw features means something
    else in each layer, as most of it is their mean; of whitened ones it does not.

    Parameters
    ----------
    X : Rows
        Features of shape (n, d).
    axes : int
        Principal axes, the largest first.

    Raises
    ------
    FeatureError
        For NaN or infinity.
    """
    n, columns = X.shape
    project = _projection(columns)
    first = np.asarray(X[0:1], np.float64) @ project if project is not None else np.asarray(X[0:1], np.float64)
    width = first.shape[1]
    total, squares = np.zeros(width), np.zeros((width, width))
    for _, block in _blocks(X, project):
        moved = block - first
        total += moved.sum(axis=0)
        squares += moved.T @ moved
    if not np.isfinite(squares).all():
        raise FeatureError("features hold NaN or infinity, expected finite numbers")
    mean = total / n
    values, vectors = np.linalg.eigh(squares / n - np.outer(mean, mean))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values[:axes] > LEAST_SHARE * max(float(values[0]), 1e-300)
    turn = (vectors[:, :axes] / np.sqrt(np.where(kept, values[:axes], 1)))[:, kept]
    found = np.zeros((n, max(1, turn.shape[1])), np.float32)
    for rows, block in _blocks(X, project):
        turned = (block - (first + mean)) @ turn
        norms = np.linalg.norm(turned, axis=1, keepdims=True)
        found[rows, : turn.shape[1]] = turned / np.maximum(norms, 1e-12)
    return found


def _projection(columns: int) -> NDArray[np.float64] | None:
    if columns <= MOST_COLUMNS:
        return None
    drawn: NDArray[np.float64] = np.random.default_rng(0).normal(size=(columns, MOST_COLUMNS)) / MOST_COLUMNS**0.5
    return drawn


def _blocks(X: Rows, project: NDArray[np.float64] | None) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    step = max(256, min(BLOCK, (BLOCK * 512) // X.shape[1]))
    for start in range(0, X.shape[0], step):
        rows = slice(start, min(start + step, X.shape[0]))
        block = np.asarray(X[rows], np.float64)
        yield rows, block if project is None else block @ project
