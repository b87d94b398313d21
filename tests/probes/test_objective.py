"""The objective's value, gradient and curvature, against plain formulas, autograd and finite differences."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from featx.probes import problem as problems
from featx.probes.curvature import curvature_matrix
from featx.probes.objective import evaluate, row_terms, start_point
from featx.probes.problem import (
    Problem,
    column_stats,
    from_coefficients,
    make_problem,
    row_blocks,
    to_coefficients,
    working_blocks,
)

N, D = 150, 6
OFFSETS = torch.tensor([0.0, 3.0, -40.0, 0.0, 1e4, 2.0], dtype=torch.float64)
SCALES = torch.tensor([1.0, 1e-3, 10.0, 0.0, 1e3, 2.0], dtype=torch.float64)


def problem_of(
    k: int,
    dtype: torch.dtype = torch.float64,
    *,
    C: float = 0.7,
    fit_intercept: bool = True,
    standardize: bool = False,
) -> Problem:
    """Weighted rows, badly scaled columns, one of them constant, one row of weight 0."""
    torch.manual_seed(k)
    X = (torch.randn(N, D, dtype=torch.float64) * SCALES + OFFSETS).to(dtype)
    weight = torch.rand(N, dtype=torch.float64)
    weight[3] = 0
    return make_problem(
        X, torch.arange(N) % k, k, C=C, weight=weight, fit_intercept=fit_intercept, standardize=standardize
    )


def some_point(problem: Problem, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (problem.n_rows, len(problem.ridge))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def plain_objective(problem: Problem, coefficients: Tensor, intercept: Tensor) -> Tensor:
    """scikit-learn's objective on X as given, in the words of its documentation."""
    logits = problem.X.double() @ coefficients.T + intercept
    if problem.n_classes == 2:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    losses = torch.nn.functional.cross_entropy(logits, problem.target, reduction="none")
    return problem.C * (problem.weight * losses).sum() + coefficients.square().sum() / 2


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_value_is_scikit_learns_objective(k: int, fit_intercept: bool) -> None:
    problem = problem_of(k, fit_intercept=fit_intercept)
    theta = some_point(problem)
    plain = plain_objective(problem, *to_coefficients(problem, theta))
    assert evaluate(problem, theta).value == pytest.approx(float(plain), rel=1e-11)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_standardised_value_is_the_objective_on_standardised_columns(fit_intercept: bool) -> None:
    problem = problem_of(4, fit_intercept=fit_intercept, standardize=True)
    theta = some_point(problem)
    weight, X = problem.weight, problem.X
    mean = weight @ X / weight.sum()
    deviation = (weight @ (X - mean).square() / weight.sum()).sqrt()
    deviation[3] = 1
    scaled = torch.cat([(X - mean) / deviation, torch.ones(N, 1)], dim=1)[:, : theta.shape[1]]
    losses = torch.nn.functional.cross_entropy(scaled @ theta.T, problem.target, reduction="none")
    expected = problem.C * (weight @ losses) + theta[:, :D].square().sum() / 2
    assert evaluate(problem, theta).value == pytest.approx(float(expected), rel=1e-11)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_gradient_is_autograds(k: int, standardize: bool, fit_intercept: bool) -> None:
    problem = problem_of(k, standardize=standardize, fit_intercept=fit_intercept)
    theta = some_point(problem).requires_grad_()
    coefficients, intercept = to_coefficients(problem, theta)
    value = plain_objective(problem, coefficients, intercept) - coefficients.square().sum() / 2
    value = value + (problem.ridge * theta.square()).sum() / 2
    (expected,) = torch.autograd.grad(value, theta)
    torch.testing.assert_close(evaluate(problem, theta.detach()).gradient, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [2, 5])
def test_gradient_is_the_finite_difference_of_the_value(k: int) -> None:
    problem = problem_of(k)
    theta, along, step = some_point(problem), some_point(problem, seed=1), 1e-6
    ahead, behind = (evaluate(problem, theta + h * along).value for h in (step, -step))
    slope = float((evaluate(problem, theta).gradient * along).sum())
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-7)


def hessian(problem: Problem, theta: Tensor) -> Tensor:
    """Central differences of the gradient, (k p, k p)."""
    columns = []
    for i in range(theta.numel()):
        step = torch.zeros_like(theta).view(-1)
        step[i] = 1e-5
        step = step.view_as(theta)
        change = evaluate(problem, theta + step).gradient - evaluate(problem, theta - step).gradient
        columns.append(change.flatten() / 2e-5)
    return torch.stack(columns)


def penalised(problem: Problem, theta: Tensor) -> Tensor:
    return problem.C * curvature_matrix(problem, theta) + torch.diag(problem.ridge)


def test_curvature_matrix_is_the_hessian_of_two_classes() -> None:
    problem = problem_of(2)
    theta = some_point(problem)
    torch.testing.assert_close(penalised(problem, theta), hessian(problem, theta), rtol=1e-5, atol=1e-5)


def test_curvature_matrix_is_the_hessian_where_classes_are_equally_likely() -> None:
    problem = problem_of(3, standardize=True)
    theta = torch.zeros(3, D + 1, dtype=torch.float64)
    # A step that differs between two classes only: their blocks of the Hessian, as seen along (1, -1, 0).
    blocks = hessian(problem, theta).view(3, D + 1, 3, D + 1)
    across = (blocks[0, :, 0] - blocks[0, :, 1] - blocks[1, :, 0] + blocks[1, :, 1]) / 2
    torch.testing.assert_close(penalised(problem, theta), across, rtol=1e-6, atol=1e-6)


def test_curvature_matrix_has_the_diagonal_that_is_computed_alone() -> None:
    problem = problem_of(4)
    theta = some_point(problem)
    diagonal = curvature_matrix(problem, theta, diagonal=True)
    torch.testing.assert_close(diagonal, curvature_matrix(problem, theta).diagonal(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    problem = problem_of(3, dtype)
    theta = some_point(problem)
    whole, matrix = evaluate(problem, theta), curvature_matrix(problem, theta)
    monkeypatch.setitem(problems.BLOCK_VALUES, "cpu", 64 * D)
    assert [rows.stop - rows.start for rows in row_blocks(*problem.X.shape, problem.X.device)] == [64, 64, 22]
    cut = evaluate(problem, theta)
    rtol = 1e-12 if dtype == torch.float64 else 1e-5
    assert cut.value == pytest.approx(whole.value, rel=rtol)
    torch.testing.assert_close(cut.gradient, whole.gradient, rtol=rtol, atol=rtol * float(whole.gradient.abs().max()))
    torch.testing.assert_close(curvature_matrix(problem, theta), matrix, rtol=rtol, atol=rtol * float(matrix.max()))


def test_blocks_of_wide_rows_stay_small() -> None:
    X = torch.zeros(1, 1).expand(100_000, 30_000)
    assert max(rows.stop - rows.start for rows in row_blocks(*X.shape, X.device)) * X.shape[1] <= 2**22 + X.shape[1]


def test_x_is_left_as_it_was() -> None:
    problem = problem_of(3, torch.float32)
    before = problem.X.clone()
    evaluate(problem, some_point(problem))
    curvature_matrix(problem, some_point(problem))
    assert torch.equal(problem.X, before)


def test_float32_keeps_the_residuals_of_sure_rows() -> None:
    """1 - p of a row with margin 30 is 1e-13: in float32 it would be 0, and so would its gradient."""
    X = torch.tensor([[-15.0], [15.0]])
    problem = make_problem(
        X, torch.tensor([0, 1]), 2, C=1e6, weight=torch.ones(2).double(), fit_intercept=False, standardize=False
    )
    theta = from_coefficients(problem, torch.tensor([[2.0]]), torch.zeros(1))
    loss = evaluate(problem, theta).value - 2.0
    assert loss == pytest.approx(2e6 * np.exp(-30.0), rel=1e-3)


@pytest.mark.parametrize("k", [2, 4])
def test_start_has_zero_weights_and_the_best_intercept(k: int) -> None:
    problem = problem_of(k)
    theta = start_point(problem)
    assert not theta[:, :D].any()
    assert evaluate(problem, theta).gradient[:, D].abs().max() < 1e-12


def test_start_is_finite_for_a_class_without_weight() -> None:
    problem = problem_of(3)
    problem.weight[problem.target == 1] = 0
    assert torch.isfinite(start_point(problem)).all()


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 4])
def test_coefficients_and_back(k: int, fit_intercept: bool) -> None:
    problem = problem_of(k, fit_intercept=fit_intercept)
    theta = some_point(problem)
    if k > 2:
        theta -= theta.mean(0)
    torch.testing.assert_close(from_coefficients(problem, *to_coefficients(problem, theta)), theta)


def test_working_columns_are_centred_and_of_size_one() -> None:
    problem = problem_of(3)
    rows = torch.cat([block.clone() for _, block in working_blocks(problem)])
    share = problem.weight / problem.weight.sum()
    mean, square = share @ rows, share @ rows.square()
    torch.testing.assert_close(mean, torch.tensor([0.0] * D + [1.0]).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(square, torch.tensor([1.0, 1, 1, 0, 1, 1, 1]).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("value", [0.1, -3e7, 1e-20, 12345.678])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_columns_become_exactly_zero(value: float, dtype: torch.dtype) -> None:
    X = torch.full((1001, 1), value, dtype=dtype)
    shift, deviation = column_stats(X, torch.rand(1001).double(), centre=True)
    assert float(deviation) == 0
    assert not (X - shift).any()


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("standardize", [False, True])
def test_columns_near_zero_are_used_as_they_lie_there(
    k: int, standardize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(k)
    X = torch.randn(N, D) * 2 + torch.linspace(-3, 3, D)
    X[:, 1] = 0.7  # a constant
    weight = torch.rand(N).double()
    near = make_problem(X, torch.arange(N) % k, k, C=2.0, weight=weight, fit_intercept=True, standardize=standardize)
    assert near.is_near_zero
    theta = some_point(near)
    found = evaluate(near, theta)
    monkeypatch.setattr(problems, "NEAR_ZERO", {torch.float32: 0.0, torch.float64: 0.0})
    centred = evaluate(replace(near, X=X.double(), dtype=torch.float64), theta)
    assert found.value == pytest.approx(centred.value, rel=1e-6)
    size = float(centred.gradient.abs().max())
    torch.testing.assert_close(found.gradient, centred.gradient, rtol=1e-5, atol=1e-5 * size)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_row_terms_lose_nothing_in_float32(k: int) -> None:
    """Against float64, for logits that are sure, unsure and surely wrong."""
    rows = 1 if k == 2 else k
    logits = torch.randn(rows, 300, generator=torch.Generator().manual_seed(k)) * 12
    target = torch.arange(300) % k
    wide = logits.double().T
    wide = torch.cat([torch.zeros_like(wide), wide], dim=1) if k == 2 else wide
    exact = functional.log_softmax(wide, dim=1)
    loss, residual, curvature = row_terms(logits.clone(), target)
    torch.testing.assert_close(loss.double(), -exact.gather(1, target[:, None])[:, 0], rtol=2e-6, atol=1e-15)
    share = exact.exp()
    others = torch.where(functional.one_hot(target, k).bool(), torch.zeros_like(share), share)
    expected = others - functional.one_hot(target, k) * others.sum(1, keepdim=True)
    torch.testing.assert_close(residual.double().T, expected[:, 1:] if k == 2 else expected, rtol=2e-5, atol=1e-30)
    spread = (share * (1 - share)).sum(1) / (1 if k > 2 else 2) / max(k - 1, 1)
    sure = spread > 1e-4  # elsewhere the float64 formula loses its own digits
    torch.testing.assert_close(curvature.double()[sure], spread[sure], rtol=2e-3, atol=1e-7)


def test_float32_agrees_with_float64() -> None:
    coarse, fine = problem_of(4, torch.float32), problem_of(4, torch.float64)
    theta = some_point(fine)
    assert evaluate(coarse, theta).value == pytest.approx(evaluate(fine, theta).value, rel=1e-4)
    assert evaluate(coarse, theta).gradient.dtype == torch.float64


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    problem = problem_of(4)
    given = {field.name: getattr(problem, field.name) for field in fields(problem)}
    moved = Problem(**{k: v.cuda() if isinstance(v, Tensor) else v for k, v in given.items()})
    theta = some_point(problem)
    torch.testing.assert_close(evaluate(moved, theta.cuda()).gradient.cpu(), evaluate(problem, theta).gradient)
