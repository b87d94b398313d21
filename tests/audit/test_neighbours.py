"""Nearest neighbours are those that all products together would give, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from featx.audit import neighbours as module
from featx.audit.neighbours import neighbours
from featx.audit.whiten import whitened
from featx.errors import FeatureError


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_neighbours_are_exact(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    Z = whitened(np.random.default_rng(0).normal(size=(150, 12)).astype(np.float32))
    products = Z @ Z.T
    np.fill_diagonal(products, -2)
    nearest = np.argsort(-products, axis=1)[:, :4]
    wanted = {(min(a, b), max(a, b)) for a, some in enumerate(nearest.tolist()) for b in some}
    found = neighbours(Z, 4)
    assert set(zip(found.a.tolist(), found.b.tolist(), strict=True)) == wanted
    assert len(found) == len(wanted)
    assert (np.diff(found.cosine) <= 0).all()
    assert np.allclose(found.cosine, products[found.a, found.b], atol=1e-6)


def test_the_nearest_ones_alone_are_those_of_a_smaller_search() -> None:
    Z = whitened(np.random.default_rng(1).normal(size=(90, 6)).astype(np.float32))
    some, few = neighbours(Z, 8).nearest(3), neighbours(Z, 3)
    assert set(zip(some.a.tolist(), some.b.tolist(), strict=True)) == set(
        zip(few.a.tolist(), few.b.tolist(), strict=True)
    )


def test_pairs_of_two_searches_are_joined_each_once() -> None:
    rng = np.random.default_rng(2)
    one, two = (neighbours(whitened(rng.normal(size=(40, 6)).astype(np.float32)), 3) for _ in range(2))
    both = one.union(two)
    known = [set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)) for pairs in (one, two, both)]
    assert known[2] == known[0] | known[1]
    assert len(both) == len(known[2])
    assert (np.diff(both.cosine) <= 0).all()
    largest = {(a, b): c for a, b, c in zip(one.a.tolist(), one.b.tolist(), one.cosine.tolist(), strict=True)}
    for a, b, cosine in zip(two.a.tolist(), two.b.tolist(), two.cosine.tolist(), strict=True):
        largest[a, b] = max(cosine, largest.get((a, b), -2))
    assert [largest[pair] for pair in zip(both.a.tolist(), both.b.tolist(), strict=True)] == both.cosine.tolist()
    assert len(neighbours(np.ones((1, 2), np.float32), 3).union(one)) == len(one)


def test_of_few_rows_all_are_neighbours() -> None:
    Z = whitened(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    assert len(neighbours(Z, 10)) == 6
    assert len(neighbours(Z[:1], 10)) == 0


def test_whitened_features_have_no_common_direction_and_rows_of_length_one() -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 100).astype(np.float32)
    Z = whitened(X)
    assert np.allclose(np.linalg.norm(Z, axis=1), 1, atol=1e-5)
    assert np.abs(Z.mean(axis=0)).max() < 0.1
    products = Z @ Z.T
    assert abs(float(products[~np.eye(400, dtype=bool)].mean())) < 0.02
    with pytest.raises(FeatureError, match="NaN"):
        whitened(np.full((5, 2), np.nan, np.float32))


def test_constant_features_are_no_trouble() -> None:
    assert np.isfinite(whitened(np.ones((10, 4), np.float32))).all()
