"""Neighbours searched for in cells: what is found is true, and how much is missed is told."""

from __future__ import annotations

import numpy as np
import pytest

from featx.audit import cells
from featx.audit.cells import neighbours_in_cells
from featx.audit.neighbours import Pairs, neighbours
from featx.audit.whiten import whitened

N, K = 1500, 3


def rows_of_length_one(seed: int = 0) -> np.ndarray:
    """Return clustered rows; every tenth one is like the one before it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 16))[rng.integers(0, 20, N)] + rng.normal(size=(N, 16))
    X[9::10] = X[8::10] + 0.02 * rng.normal(size=(N // 10, 16))
    return whitened(X.astype(np.float32))


def known(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def test_in_all_cells_the_search_is_exact() -> None:
    Z = rows_of_length_one()
    found, recall = neighbours_in_cells(Z, K, probes=N)
    exact = neighbours(Z, K)
    assert known(found) == known(exact)
    assert np.allclose(found.cosine, exact.cosine, atol=1e-6)
    assert recall == 1


def test_in_few_cells_copies_are_found_and_the_share_that_is_missed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "SAMPLE", N)
    Z = rows_of_length_one()
    found, recall = neighbours_in_cells(Z, K, probes=2)
    copies = {(row - 1, row) for row in range(9, N, 10)}
    assert len(copies & known(found)) >= 0.95 * len(copies)
    products = Z @ Z.T
    np.fill_diagonal(products, -2)
    nearest = [set(row) for row in np.argsort(-products, axis=1)[:, :K].tolist()]
    of_each: list[list[int]] = [[] for _ in range(N)]
    for a, b in known(found):
        of_each[a].append(b)
        of_each[b].append(a)
    # Of a pair that was found from one side alone the other side does not know: no more than this is found.
    most = np.mean([len(nearest[row] & set(of_each[row])) / K for row in range(N)])
    assert most - 0.1 < recall <= most < 1


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    Z = rows_of_length_one(1)
    whole, recall = neighbours_in_cells(Z, K)
    monkeypatch.setattr(cells, "BLOCK", 16)
    again, same = neighbours_in_cells(Z, K)
    assert known(whole) == known(again)
    assert recall == same


def test_of_equal_rows_it_does_not_matter_which_are_found() -> None:
    Z = np.concatenate([np.full((300, 4), 0.5, np.float32), np.full((300, 4), -0.5, np.float32)])
    found, recall = neighbours_in_cells(Z, K)
    assert (found.cosine == 1).all()
    assert recall == 1
