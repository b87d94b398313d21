"""The sums over rows that linear CKA is made of, in float64, block by block.

With X and Y centred, K = X X' and L = Y Y' their Gram matrices, they are ``tr(K L) = ||X' Y||^2``, ``sum K_ii L_ii``
and ``tr K``. The first costs most, and is had in two ways, neither of which holds n x n values: of columns,
``X' Y`` tile by tile, or, where there are fewer rows than columns, of rows, K and L block by block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.audit.rows import Floats, Rows
from featx.core.specs import Progress, no_progress
from featx.errors import FeatureError

BLOCK_BYTES = 64 << 20
"""Of the rows of all layers that are read at once."""

HELD_BYTES = 512 << 20
"""Of the tiles of X' Y that are summed up in one reading of the rows."""

TILE = 1024
"""Columns of a tile: wide layers are cut."""

LEAST_ROWS = 256
"""Fewer rows at once would make sums of tiles slower than their products."""

MOST_ROWS = 1024
"""Rows of a block of K."""


@dataclass(frozen=True)
class Sums:
    """Sums over n rows of layers a and b, centred, each in a unit of its own.

    Parameters
    ----------
    n : int
        Rows.
    products : ndarray of shape (layers, layers)
        ``||X_a' X_b||^2``, the squared Frobenius norm.
    squares : ndarray of shape (layers, layers)
        ``sum_i |x_ai|^2 |x_bi|^2``.
    traces : ndarray of shape (layers,)
        ``sum_i |x_ai|^2``.
    constant : ndarray of bool of shape (layers,)
        Whether all rows are equal.
    """

    n: int
    products: Floats
    squares: Floats
    traces: Floats
    constant: NDArray[np.bool_]


@dataclass(frozen=True)
class _Centred:
    """A layer, its rows centred and brought to values of about 1 by a power of two, which changes no digit."""

    rows: Rows
    centre: Floats
    unit: float
    constant: bool

    @property
    def columns(self) -> int:
        return self.rows.shape[1]

    def __getitem__(self, rows: slice) -> Floats:
        values = np.array(self.rows[rows], np.float64)
        values -= self.centre
        values *= self.unit
        return values


def sums_of(features: Sequence[Rows], progress: Progress = no_progress) -> Sums:
    """Read all rows, a few times, and sum them up.

    Parameters
    ----------
    features : sequence of Rows
        Layers with the same n rows.
    progress : callable
        Told of the rows done.

    Raises
    ------
    FeatureError
        For NaN, infinity, or values too large for float64.
    """
    n = features[0].shape[0]
    layers = [_centred(layer) for layer in features]
    by_rows = n < sum(layer.columns for layer in layers)
    products = (products_by_rows if by_rows else products_by_columns)(layers, n, progress)
    squares, traces = _norms(layers, n)
    return Sums(n, products, squares, traces, np.array([layer.constant for layer in layers]))


def _centred(layer: Rows) -> _Centred:
    """Find a layer's mean, as the mean distance from its first row: of equal rows it is exact."""
    n, columns = layer.shape
    first = np.array(layer[:1], np.float64)
    total, largest = np.zeros(columns), 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for part in _blocks(n, columns):
            moved = np.asarray(layer[part], np.float64) - first
            total += moved.sum(axis=0)
            # np.maximum, unlike max, keeps NaN.
            largest = float(np.maximum(largest, np.abs(moved).max(initial=0)))
    if not (math.isfinite(largest) and np.isfinite(total).all() and np.isfinite(first).all()):
        raise FeatureError("features hold NaN, infinity or values beyond float64, expected finite numbers")
    return _Centred(layer, first[0] + total / n, 2.0 ** -max(math.frexp(largest)[1], -1000), largest == 0)


def _blocks(n: int, columns: int) -> Iterator[slice]:
    step = max(LEAST_ROWS, BLOCK_BYTES // (8 * max(columns, 1)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _norms(layers: Sequence[_Centred], n: int) -> tuple[Floats, Floats]:
    """Return the sums of products of squared norms, and of the squared norms."""
    squares, traces = np.zeros((len(layers), len(layers))), np.zeros(len(layers))
    for part in _blocks(n, max(layer.columns for layer in layers)):
        norms = np.stack([np.einsum("ij,ij->i", block, block) for block in (layer[part] for layer in layers)])
        squares += norms @ norms.T
        traces += norms.sum(axis=1)
    return squares, traces


@dataclass(frozen=True)
class _Tile:
    """Some columns of one layer."""

    layer: int
    columns: slice

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)


def products_by_columns(layers: Sequence[_Centred], n: int, progress: Progress = no_progress) -> Floats:
    """Return ``||X_a' X_b||^2`` of all layers, as many pairs of tiles in one reading as `HELD_BYTES` hold."""
    tiles = [
        _Tile(i, slice(start, min(start + TILE, layer.columns)))
        for i, layer in enumerate(layers)
        for start in range(0, layer.columns, TILE)
    ]
    readings = list(_readings(list(itertools.combinations_with_replacement(tiles, 2))))
    found = np.zeros((len(layers), len(layers)))
    for done, pairs in enumerate(readings):
        held = [np.zeros((a.width, b.width)) for a, b in pairs]
        used = sorted({tile.layer for pair in pairs for tile in pair})
        for part in _blocks(n, sum(layers[i].columns for i in used)):
            blocks = {i: layers[i][part] for i in used}
            for (a, b), product in zip(pairs, held, strict=True):
                product += blocks[a.layer][:, a.columns].T @ blocks[b.layer][:, b.columns]
            progress("compare", done * n + part.stop, len(readings) * n)
        for (a, b), product in zip(pairs, held, strict=True):
            square = float(np.vdot(product, product))
            found[a.layer, b.layer] += square
            if a != b:
                found[b.layer, a.layer] += square
    return found


def _readings(pairs: Sequence[tuple[_Tile, _Tile]]) -> Iterator[list[tuple[_Tile, _Tile]]]:
    """Yield the pairs whose products are held at once."""
    group: list[tuple[_Tile, _Tile]] = []
    size = 0
    for pair in pairs:
        more = 8 * pair[0].width * pair[1].width
        if group and size + more > HELD_BYTES:
            yield group
            group, size = [], 0
        group.append(pair)
        size += more
    if group:
        yield group


def products_by_rows(layers: Sequence[_Centred], n: int, progress: Progress = no_progress) -> Floats:
    """Return ``tr(K_a K_b)`` of all layers, from blocks of K that lie on and above its diagonal."""
    columns = sum(layer.columns for layer in layers)
    step = min(MOST_ROWS, max(1, BLOCK_BYTES // (8 * columns)), max(1, math.isqrt(HELD_BYTES // (8 * len(layers)))))
    parts = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    found = np.zeros((len(layers), len(layers)))
    for i, above in enumerate(parts):
        left = [layer[above] for layer in layers]
        for beside in parts[i:]:
            right = left if beside is above else [layer[beside] for layer in layers]
            grams = np.stack([(a @ b.T).ravel() for a, b in zip(left, right, strict=True)])
            found += (1 if beside is above else 2) * (grams @ grams.T)
        progress("compare", above.stop, n)
    return found
