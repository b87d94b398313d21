"""Factors of matrices against numpy's, roots that know what sums have lost, and the metrics built of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from featx.probes import curvature
from featx.probes.curvature import (
    STALE,
    CurvatureMetrics,
    Factor,
    curvature_matrix,
    factor_matrix,
    factor_root,
    root_of,
    weighted_rows,
)
from featx.probes.objective import evaluate, hessian_product
from featx.probes.problem import Problem, make_problem

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem_of(X: Tensor, k: int = 2, C: float = 0.5, *, fit_intercept: bool = True) -> Problem:
    weight = torch.linspace(0.1, 2, len(X), dtype=torch.float64)
    target = torch.arange(len(X)) % k
    return make_problem(X, target, k, C=C, weight=weight, fit_intercept=fit_intercept, standardize=False)


# ---- factors --------------------------------------------------------------------------------------------------------


def both_factors() -> list[tuple[Factor | None, Tensor]]:
    root, ridge = normal(9, 5), torch.tensor([0.0, 1.0, 0.5, 2.0, 1e-3], dtype=torch.float64)
    matrix = root.T @ root + torch.diag(ridge)
    return [(factor_matrix(matrix), matrix), (factor_root(root, ridge), matrix)]


def test_factors_are_those_of_the_matrix_both_ways() -> None:
    gradient = normal(3, 5, seed=1)
    for factor, matrix in both_factors():
        assert factor is not None
        M = matrix.numpy()
        np.testing.assert_allclose(factor.upper.T @ factor.upper, M, rtol=1e-10, atol=1e-12)
        assert not torch.tril(factor.upper, -1).any()
        np.testing.assert_allclose(factor.solve(gradient), np.linalg.solve(M, gradient.numpy().T).T, rtol=1e-9)
        squares = np.einsum("kp,pq,kq->k", gradient.numpy(), np.linalg.inv(M), gradient.numpy())
        np.testing.assert_allclose(factor.half(gradient).square().sum(1), squares, rtol=1e-9)
        np.testing.assert_allclose(factor.lengths.square(), np.diag(np.linalg.inv(M)), rtol=1e-9)


def test_inflation_is_what_other_columns_explain_of_a_column() -> None:
    r = 0.99
    factor = factor_matrix(torch.tensor([[4.0, 2 * r], [2 * r, 1.0]], dtype=torch.float64))
    assert factor is not None
    assert factor.inflation(torch.tensor([4.0, 1.0]).double()) == pytest.approx(1 / (1 - r**2), rel=1e-12)


def test_a_matrix_that_is_not_positive_definite_has_no_factor() -> None:
    assert factor_matrix(torch.diag(torch.tensor([1.0, -1e-9, 1.0]).double())) is None


def test_what_is_not_finite_has_no_factor() -> None:
    assert factor_root(torch.full((3, 2), torch.inf).double(), torch.ones(2).double()) is None


def test_a_root_knows_what_its_square_has_lost() -> None:
    """Columns that differ by 1e-10: their difference's curvature is 1e-20 of the sum's."""
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0]).double()
    root = torch.stack([torch.ones(4).double(), 1 + 1e-10 * wave], dim=1)
    factor = factor_root(root, torch.full((2,), 1e-40).double())
    assert factor is not None
    # Whatever the common curvature, s . (1, -1) of the step s is 4 / |R (1, -1)|^2.
    difference = (root[:, 0] - root[:, 1]).square().sum()
    along = torch.tensor([[1.0, -1.0]]).double()
    step = factor.solve(along)
    assert float((step * along).sum()) == pytest.approx(4 / float(difference), rel=1e-5)
    summed = factor_matrix(root.T @ root)
    assert summed is None or float((summed.solve(along) * along).sum()) < 1e-3 * 4 / float(difference)


def test_copies_without_a_penalty_get_finite_steps() -> None:
    column = normal(6, 1)
    factor = factor_root(column.repeat(1, 2), torch.zeros(2).double())
    assert factor is not None
    step = factor.solve(torch.ones(1, 2).double())
    assert float((column.repeat(1, 2) @ step.T).square().sum()) == pytest.approx(1 / float(column.square().sum()))


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [3, 40, 0, 7], [2]])
def test_a_root_is_one_of_all_blocks_together(sizes: list[int]) -> None:
    blocks = [normal(n, 4, seed=i) for i, n in enumerate(sizes)]
    root = root_of(iter(blocks), 4, CPU)
    rows = torch.cat(blocks).numpy()
    assert len(root) <= 4
    np.testing.assert_allclose(root.T @ root, rows.T @ rows, rtol=1e-10, atol=1e-12)


def test_no_blocks_have_an_empty_root() -> None:
    assert root_of(iter([]), 4, CPU).shape == (0, 4)


# ---- the loss's curvature -------------------------------------------------------------------------------------------


def plain_rows(problem: Problem) -> Tensor:
    """X in working units, with the intercept's ones."""
    assert isinstance(problem.X, Tensor)
    rows = (problem.X - problem.shift) * problem.inverse_scale
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1) if problem.has_intercept else rows


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 5])
def test_matrix_and_rows_are_those_of_the_formula(k: int, fit_intercept: bool) -> None:
    problem = problem_of(normal(40, 3), k, fit_intercept=fit_intercept)
    theta, rows = normal(problem.n_rows, len(problem.ridge), seed=1), plain_rows(problem)
    logits = rows @ theta.T
    p = torch.softmax(torch.cat([torch.zeros_like(logits), logits], 1) if k == 2 else logits, dim=1)
    # One weight vector for two classes: p (1 - p), half of (1 - ||p||^2) / (k - 1).
    factor = (1 - p.square().sum(1)) / (2 if k == 2 else k - 1)
    expected = (rows * (problem.weight * factor)[:, None]).T @ rows
    torch.testing.assert_close(curvature_matrix(problem, theta), expected, rtol=1e-10, atol=1e-12)
    given = torch.cat([block.clone() for block in weighted_rows(problem, theta)])
    torch.testing.assert_close(given.T @ given, expected, rtol=1e-10, atol=1e-12)
    diagonal = curvature_matrix(problem, theta, diagonal=True)
    torch.testing.assert_close(diagonal, expected.diagonal(), rtol=1e-10, atol=1e-12)


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_the_metric_of_two_classes_inverts_the_hessian() -> None:
    problem = problem_of(normal(60, 4))
    theta, gradient = normal(1, 5, seed=1), normal(1, 5, seed=2)
    step = CurvatureMetrics()(problem, theta, evaluate(problem, theta).curvature)(gradient)
    torch.testing.assert_close(hessian_product(problem, theta, step), gradient, rtol=1e-9, atol=1e-10)


def test_one_matrix_serves_another_c_until_the_curvature_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    real = curvature.curvature_matrix
    monkeypatch.setattr(curvature, "curvature_matrix", lambda *a, **k: built.append(1) or real(*a, **k))
    problem = problem_of(normal(60, 4))
    theta, gradient = normal(1, 5, seed=1), normal(1, 5, seed=2)
    metrics, at = CurvatureMetrics(), evaluate(problem, theta).curvature
    metrics(problem, theta, at)
    other = replace(problem, C=7 * problem.C)  # its curvature is 7 times as much, for the same loss
    step = metrics(other, theta, 7 * at)(gradient)
    assert len(built) == 1
    torch.testing.assert_close(hessian_product(other, theta, step), gradient, rtol=1e-9, atol=1e-10)
    metrics(problem, theta, at * STALE * 0.99)
    assert len(built) == 1
    metrics(problem, theta, at * STALE * 1.01)
    assert len(built) == 2


def test_the_diagonal_alone_where_columns_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "ALWAYS_FULL_COLUMNS", 0)
    problem = problem_of(normal(8, 40))  # fewer rows than a quarter of the columns
    theta, gradient = torch.zeros(1, 41).double(), normal(1, 41, seed=2)
    step = CurvatureMetrics()(problem, theta, evaluate(problem, theta).curvature)(gradient)
    diagonal = problem.C * curvature_matrix(problem, theta).diagonal() + problem.ridge
    torch.testing.assert_close(step, gradient / diagonal, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("apart", "dtypes"), [(1.0, 1), (1e-3, 2), (1e-9, 2)])
def test_the_sum_is_as_fine_as_the_columns_need(apart: float, dtypes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near copies in float32: first its own sum, then a float64 one, then a root."""
    seen = []
    real = curvature.curvature_matrix
    monkeypatch.setattr(curvature, "curvature_matrix", lambda p, t, **k: seen.append(p.dtype) or real(p, t, **k))
    X = normal(50, 1).repeat(1, 2) + apart * torch.tensor([0.0, 1.0]).double() * normal(50, 1, seed=3)
    problem = replace(problem_of(X, C=1e6), dtype=torch.float32)
    problem = replace(problem, ridge=torch.where(problem.ridge > 0, 1e-12, 0.0).double())
    theta, gradient = torch.zeros(1, 3).double(), normal(1, 3, seed=2)
    metrics = CurvatureMetrics()
    step = metrics(problem, theta, evaluate(problem, theta).curvature)(gradient)
    assert seen == [torch.float32, torch.float64][:dtypes]
    fine = replace(problem, dtype=torch.float64)
    assert np.isinf(metrics.inflation) == (apart == 1e-9)
    if np.isinf(metrics.inflation):  # what a product with the Hessian cannot tell any more
        factor = factor_root(problem.C**0.5 * root_of(weighted_rows(fine, theta), 3, CPU), problem.ridge)
        assert factor is not None
        torch.testing.assert_close(step, factor.solve(gradient))
        return
    product = hessian_product(fine, theta, step)
    torch.testing.assert_close(product, gradient, rtol=2e-2, atol=2e-2 * float(gradient.abs().max()))
