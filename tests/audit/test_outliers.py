"""Distances to neighbours are those of a plain computation; what is alone is an outlier."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from featx.audit.outliers import find_outliers, outlier_distances


def test_distances_are_those_of_all_pairs_in_whitened_space() -> None:
    X = np.random.default_rng(0).normal(size=(200, 6)) * [1, 2, 3, 4, 5, 6] + 100
    whitening = np.linalg.cholesky(np.linalg.inv(np.cov(X.T, bias=True)))
    apart = cdist(X @ whitening, X @ whitening)
    np.fill_diagonal(apart, np.inf)
    assert np.allclose(outlier_distances(X, 5), np.sort(apart, axis=1)[:, 4], rtol=1e-3)


def test_a_row_unlike_all_others_is_an_outlier_even_beside_its_duplicate() -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(4, 16))[np.arange(400) % 4] + 0.3 * rng.normal(size=(400, 16))).astype(np.float32)
    X[[100, 300]] = 4
    distances = outlier_distances(X)
    found = find_outliers(distances, [f"{row}.png" for row in range(400)], ["train"] * 200 + ["test"] * 200)
    assert {(one.id, one.split) for one in found[:2]} == {("100.png", "train"), ("300.png", "test")}
    assert found[0].distance > 2 * found[0].usual
    assert len(found) <= 4


def test_among_a_sample_of_rows_the_same_row_is_far() -> None:
    X = np.random.default_rng(0).normal(size=(300, 5))
    X[7] = 30
    distances = outlier_distances(X, 3, reference=50, seed=1)
    assert int(distances.argmax()) == 7
    assert (distances > 0).all()
    assert np.array_equal(distances, outlier_distances(X, 3, reference=50, seed=1))


def test_a_lone_row_has_no_distance_and_is_no_outlier() -> None:
    distances = outlier_distances(np.ones((1, 3)))
    assert np.isnan(distances).all()
    assert find_outliers(distances, ["a"], ["all"]) == []
