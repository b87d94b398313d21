"""Features made comparable: centred, whitened along their principal axes, for cosines of length 1."""

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


def whitened(X: Rows) -> Floats:
    """Return rows whose products are the cosines of whitened features, float32 (n, at most `MOST_AXES`).

    A cosine of raw features means something else in each layer, as most of it is their mean; of whitened ones it does
    not. Arguments and errors are those of `on_axes`.
    """
    Z = on_axes(X)
    for start in range(0, len(Z), BLOCK):
        rows = Z[start : start + BLOCK]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return Z


def on_axes(X: Rows) -> Floats:
    """Return features along their first principal axes, each of variance 1, float32 (n, at most `MOST_AXES`).

    X is read twice, block by block; what is returned is all that is held.

    Parameters
    ----------
    X : Rows
        Features of shape (n, d).

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
        moved = block - first  # sums of what is left keep their digits
        total += moved.sum(axis=0)
        squares += moved.T @ moved
    if not np.isfinite(squares).all():
        raise FeatureError("features hold NaN or infinity, expected finite numbers")
    mean = total / n
    values, vectors = np.linalg.eigh(squares / n - np.outer(mean, mean))
    values, vectors = values[::-1][:MOST_AXES], vectors[:, ::-1][:, :MOST_AXES]
    kept = values > LEAST_SHARE * max(float(values[0]), 1e-300)
    turn = vectors[:, kept] / np.sqrt(values[kept])
    found = np.zeros((n, max(1, turn.shape[1])), np.float32)
    for rows, block in _blocks(X, project):
        found[rows, : turn.shape[1]] = (block - (first + mean)) @ turn
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
