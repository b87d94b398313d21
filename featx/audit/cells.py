"""Nearest neighbours among more rows than can all be compared: within cells of similar rows, and how many are missed.

An inverted file (Sivic and Zisserman 2003, Video Google, ICCV; Jegou et al. 2011, Product quantization for nearest
neighbor search, PAMI): k-means divides the rows into about as many cells as each then has rows, and a row is compared
with those of the few cells whose centres are nearest to it. How many of the true neighbours that finds depends on the
data, so that it is measured, on a sample of rows which are compared with all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from featx.audit.neighbours import BLOCK, Best, Pairs, Products, in_parts
from featx.core.specs import Progress, no_progress

PROBES = 16
"""Cells in which a row's neighbours are searched for."""

LEARNT_FROM = 64
"""Rows for each cell that k-means learns from."""

SAMPLE = 1024
"""Rows that are compared with all others, to know how many neighbours are missed."""

ROUNDING = 1e-6
"""By how much a cosine may differ with the block that it was computed in."""

Floats = NDArray[np.float32]


def neighbours_in_cells(
    Z: Floats, k: int, probes: int = PROBES, progress: Progress = no_progress
) -> tuple[Pairs, float]:
    """Return most rows' k nearest other rows, as pairs, and which share of them all that is.

    Parameters
    ----------
    Z : ndarray of float32 of shape (n, d)
        Rows of length 1.
    k : int
        Neighbours a row, fewer than n.
    probes : int
        Cells in which a row's are searched for.
    progress : callable
        Told of the rows done.

    Returns
    -------
    pairs : Pairs
        With true cosines; ranks are among those found.
    recall : float
        Share of the true k nearest of a sample of rows that were found, 0 to 1.
    """
    rows = torch.from_numpy(Z)
    found = Best(len(Z), k)
    multiply = Products(BLOCK)
    done = 0
    for own, visitors in _members(rows, _centres(Z), probes):
        for part in in_parts(own, BLOCK):
            beside = rows[part]
            for some in (*in_parts(own, BLOCK), *in_parts(visitors, BLOCK)):
                product = multiply(rows[some], beside)
                if some[0] == part[0]:
                    product.fill_diagonal_(-2)
                found.see(product, some, part)
        done += len(own)
        progress("neighbours", done, len(Z))
    return found.pairs(), _recall(rows, found)


def _centres(Z: Floats) -> torch.Tensor:
    """Return the cells' centres, (cells, d)."""
    from sklearn.cluster import MiniBatchKMeans

    cells = math.isqrt(len(Z))
    rng = np.random.default_rng(0)
    sample = Z[np.sort(rng.choice(len(Z), min(len(Z), cells * LEARNT_FROM), replace=False))]
    model = MiniBatchKMeans(cells, init="random", n_init=1, batch_size=4 * cells, random_state=0).fit(sample)
    return torch.from_numpy(model.cluster_centers_.astype(np.float32))


def _members(rows: torch.Tensor, centres: torch.Tensor, probes: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the rows for which each cell is the nearest one, and those for which it is another one of the nearest."""
    nearest = _nearest_cells(rows, centres, min(probes, len(centres)))
    # By rank, each sorted apart: sorting them together would take three times the memory of what is sorted.
    orders, edges = [], []
    for cells in nearest:
        order = np.argsort(cells, kind="stable")
        edges.append(np.searchsorted(cells[order], np.arange(len(centres) + 1)).tolist())
        orders.append(torch.from_numpy(order.astype(np.int32)))
    del nearest
    for cell in range(len(centres)):
        own, *others = (order[edge[cell] : edge[cell + 1]].long() for order, edge in zip(orders, edges, strict=True))
        yield own, torch.cat([own[:0], *others])


def _nearest_cells(rows: torch.Tensor, centres: torch.Tensor, probes: int) -> NDArray[np.int32]:
    """Return the cells whose centres are nearest to each row, the nearest first, int32 (probes, n)."""
    found = np.empty((probes, len(rows)), np.int32)
    half = (centres**2).sum(dim=1) / 2
    for start in range(0, len(rows), BLOCK):
        near = rows[start : start + BLOCK] @ centres.T - half
        found[:, start : start + BLOCK] = near.topk(probes, dim=1).indices.T.numpy()
    return found


def _recall(rows: torch.Tensor, found: Best) -> float:
    """Return which share of the nearest of some rows was found, 0 to 1."""
    n, k = found.values.shape
    sample = torch.from_numpy(np.sort(np.random.default_rng(1).choice(n, min(n, SAMPLE), replace=False)))
    exact = Best(len(sample), k)
    above, places = rows[sample], torch.arange(len(sample))
    for part in in_parts(torch.arange(n), BLOCK):
        product = above @ rows[part[0] : part[-1] + 1].T
        inside = (sample >= part[0]) & (sample <= part[-1])
        product[inside, sample[inside] - part[0]] = -2
        exact.see(product, places, part)
    # By cosine, not by number: of equal rows it does not matter which was found.
    return float((found.values[sample] >= exact.values[:, -1:] - ROUNDING).float().mean())
