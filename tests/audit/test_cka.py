"""Linear CKA is what its definition gives, whatever the shapes; unbiased, and without anything of n x n."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from featx.audit import sums
from featx.audit.cka import linear_cka, unbiased_hsic
from featx.audit.sums import sums_of
from featx.errors import FeatureError

Array = np.ndarray[Any, np.dtype[np.float64]]


def drawn(n: int, columns: int, seed: int = 0) -> Array:
    return np.random.default_rng([n, columns, seed]).normal(size=(n, columns))


def rotation(columns: int) -> Array:
    return np.linalg.qr(drawn(columns, columns))[0]


def hsic(X: Array, Y: Array) -> float:
    """HSIC_1 of Song et al. 2012, from the whole Gram matrices."""
    n, ones = len(X), np.ones(len(X))
    K, L = ((M @ M.T) * (1 - np.eye(n)) for M in (X, Y))
    middle = (ones @ K @ ones) * (ones @ L @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(K @ L) + middle - 2 / (n - 2) * (ones @ K @ L @ ones)) / (n * (n - 3)))


def biased_hsic(X: Array, Y: Array) -> float:
    n = len(X)
    H = np.eye(n) - 1 / n
    return float(np.trace(X @ X.T @ H @ Y @ Y.T @ H) / (n - 1) ** 2)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(4, 14),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(-10, 10),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_both_estimates_are_those_of_the_whole_gram_matrices(
    n: int, p: int, q: int, shift: float, seed: int, shared: float
) -> None:
    X, Y = drawn(n, p, seed) + shift, drawn(n, q, seed + 1)
    Y += shared * X[:, :1]
    own = [hsic(M, M) / biased_hsic(M, M) for M in (X, Y)]
    assume(min(own) > 1e-4)  # nearer to no structure at all, the plain computation has few digits left
    found = linear_cka([X, Y])
    assert found.unbiased[0, 1] == pytest.approx(hsic(X, Y) / np.sqrt(hsic(X, X) * hsic(Y, Y)), abs=1e-8)
    expected = biased_hsic(X, Y) / np.sqrt(biased_hsic(X, X) * biased_hsic(Y, Y))
    assert found.biased[0, 1] == pytest.approx(expected, abs=1e-10)
    assert np.diag(found.unbiased) == pytest.approx(1)
    assert np.array_equal(found.unbiased, found.unbiased.T)


def test_sums_over_columns_and_over_rows_are_the_same_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [sums._centred(drawn(23, columns, columns)) for columns in (1, 7, 4)]
    whole = sums.products_by_columns(layers, 23)
    assert sums.products_by_rows(layers, 23) == pytest.approx(whole, rel=1e-12)
    for name, value in {"TILE": 3, "HELD_BYTES": 150, "LEAST_ROWS": 2, "BLOCK_BYTES": 400}.items():
        monkeypatch.setattr(sums, name, value)
    assert sums.products_by_columns(layers, 23) == pytest.approx(whole, rel=1e-12)
    assert sums.products_by_rows(layers, 23) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("p", "q"), [(64, 64), (16, 512), (512, 1024)])
def test_independent_normals_give_0_and_the_biased_estimate_does_not(p: int, q: int) -> None:
    found = linear_cka([drawn(1000, p), drawn(1000, q, seed=1)])
    assert abs(found.unbiased[0, 1]) < 0.01
    # E |X'Y|^2 = m p q and E |X'X|^2 = m p (m + p + 1) for m = n - 1.
    expected = np.sqrt(p * q / ((1000 + p) * (1000 + q)))
    assert found.biased[0, 1] == pytest.approx(expected, rel=0.05)
    assert found.shuffled[0, 1] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("n", "columns"), [(500, 12), (30, 200)])
def test_orthogonal_maps_shifts_and_scales_give_1(n: int, columns: int) -> None:
    X = drawn(n, columns) * np.arange(1, columns + 1)
    turned = X @ rotation(columns)
    found = linear_cka([X, turned, turned * 1e150 + 3e150, turned * 1e-150, np.hstack([X, 0 * X])])
    for values in (found.unbiased, found.biased):
        assert values == pytest.approx(np.ones((5, 5)), abs=1e-12)


def test_over_all_orders_of_the_rows_the_unbiased_estimate_is_0_and_the_biased_one_as_told() -> None:
    X, Y = drawn(6, 3), drawn(6, 9)
    orders = [linear_cka([X, Y[list(order)]]) for order in itertools.permutations(range(6))]
    assert np.mean([found.unbiased[0, 1] for found in orders]) == pytest.approx(0, abs=1e-12)
    assert np.mean([found.biased[0, 1] for found in orders]) == pytest.approx(orders[0].shuffled[0, 1], abs=1e-12)


@pytest.mark.parametrize("n", [32, 256])
def test_means_over_draws_of_normals_are_the_exact_expectations(n: int) -> None:
    draw = np.random.default_rng(n)
    own, ratios, biased, related = [], [], [], []
    for _ in range(300):
        x, y = draw.normal(size=(n, 1)), draw.normal(size=(n, 1))
        biased.append(linear_cka([x, y]).biased[0, 1])
        X, noise = draw.normal(size=(n, 8)), draw.normal(size=(n, 8))
        ratios.append(linear_cka([X, noise]).unbiased[0, 1])
        found = sums_of([X, 0.6 * X + 0.8 * noise])
        assert not found.constant.any()
        units = np.array([2.0 ** np.frexp(np.abs(M - M[0]).max())[1] for M in (X, 0.6 * X + 0.8 * noise)])
        related.append(unbiased_hsic(found)[0, 1] * (units**2).prod())
        own.append(unbiased_hsic(found)[0, 0] * units[0] ** 4)
    # r^2 of independent normals; 0; |S_xy|^2 = 8 * 0.6^2 and |S_xx|^2 = 8, the squared norms of the covariances.
    for values, expected in ((biased, 1 / (n - 1)), (ratios, 0), (related, 8 * 0.36), (own, 8)):
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error


def test_layers_without_structure_are_similar_to_nothing() -> None:
    X, constant, even = drawn(40, 5), np.full((40, 3), 0.1), np.eye(40)
    found = linear_cka([X, constant, even])
    assert found.constant.tolist() == [False, True, False]
    assert np.isnan(found.unbiased).tolist() == [[False, True, True], [True] * 3, [True] * 3]
    assert np.isnan(found.biased).tolist() == [[False, True, False], [True] * 3, [False, True, False]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 7])
def test_what_is_not_finite_is_refused(value: float, row: int) -> None:
    X = drawn(10, 2)
    X[row, 1] = value
    with pytest.raises(FeatureError, match="finite"):
        linear_cka([X, drawn(10, 2)])


@pytest.mark.parametrize(("n", "columns", "megabytes"), [(20_000, 8, 20), (1_600, 2_000, 10)])
def test_neither_rows_by_rows_nor_columns_by_columns_is_held_where_it_is_large(
    n: int, columns: int, megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(0).random((n, columns), np.float32)
    monkeypatch.setattr(sums, "BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        sums_of([X[:, : columns // 2], X[:, columns // 2 :]])
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()
