"""Truncated Newton steps on quadratics whose solution is known, and on a function that curves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from featx.probes.lbfgs import Function
from featx.probes.newton import NewtonStep, StepAt, minimise_by_newton, newton_step
from featx.probes.objective import Evaluation

K, P = 3, 4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hessian(condition: float = 100.0) -> Tensor:
    """A positive definite matrix (k p, k p) that ties all weights together."""
    vectors = torch.linalg.qr(normal(K * P, K * P))[0]
    values = torch.logspace(0, math.log10(condition), K * P, dtype=torch.float64)
    return (vectors * values) @ vectors.T


def times(matrix: Tensor, step: Tensor) -> Tensor:
    return (matrix @ step.flatten()).view_as(step)


def plain(gradient: Tensor) -> Tensor:
    return gradient.clone()


def solve(matrix: Tensor, gradient: Tensor, **options: float) -> tuple[NewtonStep, int]:
    """Return the step, and how many products it took."""
    calls = 0

    def product(step: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return times(matrix, step)

    return newton_step(product, gradient, plain, **options), calls  # type: ignore[arg-type]


# ---- one step -------------------------------------------------------------------------------------------------------


def test_a_settled_step_solves_newtons_equation() -> None:
    matrix, gradient = hessian(), normal(K, P, seed=1)
    found, products = solve(matrix, gradient, settle=1e-12)
    expected = torch.linalg.solve(matrix, gradient.flatten()).view(K, P)
    assert found.settled
    assert products <= 2 * K * P
    torch.testing.assert_close(found.step, expected, rtol=1e-4, atol=1e-5)
    assert found.decrement == pytest.approx(float((gradient * expected).sum()), rel=1e-8)


def test_the_exact_inverse_as_a_metric_takes_one_product() -> None:
    matrix, gradient = hessian(1e6), normal(K, P, seed=1)
    inverse = torch.linalg.inv(matrix)
    calls = []
    found = newton_step(lambda v: calls.append(1) or times(matrix, v), gradient, lambda g: times(inverse, g))
    assert (len(calls), found.settled) == (1, True)
    torch.testing.assert_close(found.step, times(inverse, gradient), rtol=1e-8, atol=1e-12)


def test_the_decrement_is_the_products_with_the_gradient_wherever_it_stops() -> None:
    matrix, gradient = hessian(), normal(K, P, seed=1)
    whole = float(gradient.flatten() @ torch.linalg.solve(matrix, gradient.flatten()))
    last = 0.0
    for limit in (1, 2, 5, 9):
        found, products = solve(matrix, gradient, settle=0.0, limit=limit)
        assert products == limit
        assert not found.settled
        assert found.decrement == pytest.approx(float((gradient * found.step).sum()), rel=1e-10)
        assert last < found.decrement < whole  # conjugate gradients only ever add
        last = found.decrement


def test_it_stops_early_where_the_decrement_has_settled() -> None:
    matrix, gradient = hessian(1e4), normal(K, P, seed=1)
    exact = float(gradient.flatten() @ torch.linalg.solve(matrix, gradient.flatten()))
    rough, few = solve(matrix, gradient)
    fine, many = solve(matrix, gradient, settle=1e-12)
    assert rough.settled
    assert fine.settled
    assert few < many
    assert exact / 2 < rough.decrement <= fine.decrement * (1 + 1e-12)


def test_no_gradient_needs_no_product() -> None:
    found, products = solve(hessian(), torch.zeros(K, P, dtype=torch.float64))
    assert (products, found.settled, found.decrement) == (0, True, 0.0)
    assert not found.step.any()


@pytest.mark.parametrize("curvature", [0.0, -1.0, math.nan, math.inf])
def test_a_hessian_without_curvature_settles_nothing(curvature: float) -> None:
    gradient = normal(K, P, seed=1)
    found = newton_step(lambda v: curvature * v, gradient, plain)
    assert not found.settled
    assert not found.step.any()


def test_a_gradient_that_is_not_finite_settles_nothing() -> None:
    found, products = solve(hessian(), torch.full((K, P), math.nan, dtype=torch.float64))
    assert (products, found.settled) == (0, False)


def test_norms_are_those_of_their_formula() -> None:
    step = NewtonStep(torch.zeros(1, 1), 0.02, True, hidden=0.06)
    assert step.norm(4.0) == pytest.approx(math.sqrt(0.08 / 8))
    assert step.norm_to_be_had(4.0) == pytest.approx(math.sqrt(0.02 / 8))
    assert step.norm(0.0) == math.inf
    unsettled = NewtonStep(torch.zeros(1, 1), 0.02, False)
    assert unsettled.norm(4.0) == unsettled.norm_to_be_had(4.0) == math.inf


# ---- many steps -----------------------------------------------------------------------------------------------------

TARGET = normal(K, P, seed=2)


def bowl(matrix: Tensor) -> tuple[Function, StepAt]:
    """A quadratic of value 1 at TARGET, and its Newton step."""

    def value(point: Tensor) -> Evaluation:
        slope = times(matrix, point - TARGET)
        return Evaluation(1 + float(((point - TARGET) * slope).sum()) / 2, slope, 1.0)

    def step_at(point: Tensor, at: Evaluation) -> NewtonStep:
        return newton_step(lambda v: times(matrix, v), at.gradient, plain, settle=1e-12)

    return value, step_at


def test_a_quadratic_takes_one_step() -> None:
    value, step_at = bowl(hessian())
    start = torch.zeros(K, P, dtype=torch.float64)
    found = minimise_by_newton(value, step_at, start, tol=1e-8, max_iter=9, noise=1e-15)
    assert (found.converged, found.n_evaluations) == (True, found.n_iter + 1)
    assert found.n_iter <= 2
    torch.testing.assert_close(found.point, TARGET, rtol=1e-4, atol=1e-6)
    assert found.value == pytest.approx(1, abs=1e-12)


def test_a_curved_function_is_followed_quadratically_to_its_minimum() -> None:
    """``cosh`` of each weight: Newton's errors fall as their cubes, from 1 below 1e-9 in a handful of steps."""

    def value(point: Tensor) -> Evaluation:
        return Evaluation(float(torch.cosh(point - TARGET).sum()), torch.sinh(point - TARGET), 1.0)

    def step_at(point: Tensor, at: Evaluation) -> NewtonStep:
        return newton_step(lambda v: torch.cosh(point - TARGET) * v, at.gradient, plain, settle=1e-12)

    found = minimise_by_newton(value, step_at, TARGET + 1, tol=1e-9, max_iter=50, noise=1e-15)
    assert found.converged
    assert found.n_iter <= 6
    torch.testing.assert_close(found.point, TARGET, rtol=0, atol=1e-7)


def test_it_counts_and_stops_where_it_is_told_to() -> None:
    calls = 0

    def value(point: Tensor) -> Evaluation:
        nonlocal calls
        calls += 1
        return Evaluation(float(torch.cosh(point).sum()), torch.sinh(point), 1.0)

    def step_at(point: Tensor, at: Evaluation) -> NewtonStep:
        return NewtonStep(0.1 * at.gradient / torch.cosh(point), 1.0, True)  # a tenth of the step, never at an end

    start = torch.full((1, 2), 3.0, dtype=torch.float64)
    found = minimise_by_newton(value, step_at, start, tol=1e-9, max_iter=3, noise=1e-15)
    assert (found.n_iter, found.converged) == (3, False)
    assert found.n_evaluations == calls
    assert found.value == float(torch.cosh(found.point).sum())


def test_at_the_minimum_nothing_moves() -> None:
    value, step_at = bowl(hessian())
    found = minimise_by_newton(value, step_at, TARGET.clone(), tol=1e-8, max_iter=9, noise=1e-15)
    assert (found.n_iter, found.n_evaluations, found.converged, found.gradient_norm) == (0, 1, True, 0.0)


def test_what_is_hidden_ends_the_steps_but_is_not_converged() -> None:
    value, _ = bowl(hessian())
    at_the_end = NewtonStep(torch.zeros(K, P, dtype=torch.float64), 0.0, True, hidden=0.5)
    found = minimise_by_newton(value, lambda *_: at_the_end, TARGET.clone(), tol=1e-4, max_iter=9, noise=1e-15)
    assert (found.n_iter, found.converged) == (0, False)
    assert found.gradient_norm == pytest.approx(0.5)  # sqrt(0.5 / (2 x 1))


def test_a_step_uphill_ends_the_search() -> None:
    value, step_at = bowl(hessian())

    def uphill(point: Tensor, at: Evaluation) -> NewtonStep:
        found = step_at(point, at)
        return NewtonStep(-found.step, found.decrement, True)

    start = torch.zeros(K, P, dtype=torch.float64)
    found = minimise_by_newton(value, uphill, start, tol=1e-8, max_iter=9, noise=1e-15)
    assert (found.n_iter, found.converged) == (0, False)
    assert torch.equal(found.point, start)
