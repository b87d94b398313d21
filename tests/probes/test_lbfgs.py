"""The solver on functions whose minimum is known, and the stopping rule's invariances."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from featx.probes import curvature, softmax_solver
from featx.probes.curvature import CurvatureMetrics
from featx.probes.lbfgs import Function, Solution, gradient_norm, line_search, minimise
from featx.probes.objective import Evaluation, evaluate, start_point
from featx.probes.problem import Problem, make_problem
from featx.probes.softmax_solver import fit_softmax

TARGET = torch.linspace(-3, 4, 20, dtype=torch.float64)
SPREAD = torch.logspace(0, 3, 20, dtype=torch.float64)


def bowl(point: Tensor) -> Evaluation:
    """A quadratic of condition 1000 with value 1 at its minimum."""
    distance = point - TARGET
    return Evaluation(1 + float((SPREAD * distance**2).sum()) / 2, SPREAD * distance, 1.0)


def logistic_wall(point: Tensor) -> Evaluation:
    """log(1 + exp(50 (x - 1))) + (x - 3)^2 / 2 + 1: nearly straight, then steep."""
    z = 50 * (point - 1)
    value = torch.nn.functional.softplus(z) + (point - 3) ** 2 / 2
    return Evaluation(float(value.sum()) + 1, 50 * torch.sigmoid(z) + (point - 3), 1.0)


def plain(point: Tensor, curvature: float) -> curvature.Metric:
    return lambda gradient: gradient.clone()


def run(function: Function, start: Tensor, *, tol: float = 1e-9, max_iter: int = 300, noise: float = 1e-15) -> Solution:
    return minimise(function, start, plain, tol=tol, max_iter=max_iter, noise=noise)


def test_finds_the_bottom_of_a_bad_bowl() -> None:
    solution = run(bowl, torch.zeros(20, dtype=torch.float64))
    assert solution.converged
    torch.testing.assert_close(solution.point, TARGET, atol=1e-6, rtol=0)
    assert solution.value == pytest.approx(1, abs=1e-12)


def test_the_exact_metric_needs_one_step() -> None:
    start = torch.zeros(20, dtype=torch.float64)
    solution = minimise(bowl, start, lambda *_: lambda g: g / SPREAD, tol=1e-9, max_iter=50, noise=1e-15)
    assert (solution.n_iter, solution.converged) == (1, True)


def test_finds_the_foot_of_a_wall() -> None:
    solution = run(logistic_wall, torch.full((1,), -500.0, dtype=torch.float64))
    assert solution.converged
    assert float(logistic_wall(solution.point).gradient.abs()) < 1e-6


def test_reports_what_it_did() -> None:
    calls = 0

    def counted(point: Tensor) -> Evaluation:
        nonlocal calls
        calls += 1
        return bowl(point)

    solution = run(counted, torch.zeros(20, dtype=torch.float64), max_iter=3)
    assert (solution.n_iter, solution.converged) == (3, False)
    assert solution.n_evaluations == calls
    assert solution.value == bowl(solution.point).value
    assert solution.gradient_norm > 1e-9


def test_no_step_at_the_minimum() -> None:
    solution = run(bowl, TARGET.clone())
    assert (solution.n_iter, solution.n_evaluations, solution.gradient_norm) == (0, 1, 0.0)
    assert solution.converged


def rounded(point: Tensor) -> Evaluation:
    """The bowl as float32 sees it: value and gradient carry its rounding."""
    exact = bowl(point.float().double())
    return Evaluation(float(torch.tensor(exact.value).float()), exact.gradient.float().double(), 1.0)


def test_noise_ends_the_search_and_says_so() -> None:
    solution = run(rounded, torch.zeros(20, dtype=torch.float64), tol=1e-13, max_iter=10_000, noise=1.2e-7)
    assert not solution.converged
    assert solution.n_iter < 500
    assert solution.value == pytest.approx(1, abs=1e-5)


def test_a_gradient_that_lies_ends_the_search() -> None:
    def uphill(point: Tensor) -> Evaluation:
        honest = bowl(point)
        return honest._replace(gradient=-honest.gradient)

    solution = run(uphill, torch.zeros(20, dtype=torch.float64))
    assert (solution.n_iter, solution.converged) == (0, False)


def test_a_function_without_a_value_ends_the_search() -> None:
    def nothing(point: Tensor) -> Evaluation:
        return Evaluation(math.nan, torch.full_like(point, math.nan), math.nan)

    solution = run(nothing, torch.zeros(2, dtype=torch.float64))
    assert (solution.n_iter, solution.converged) == (0, False)


def test_line_search_steps_back_from_overflow() -> None:
    def cliff(point: Tensor) -> Evaluation:
        x = float(point)
        return Evaluation(math.inf if x > 1 else (x - 0.5) ** 2 + 1, 2 * (point - 0.5), 1.0)

    start = torch.zeros(1, dtype=torch.float64)
    search = line_search(cliff, start, cliff(start), torch.full((1,), 100.0, dtype=torch.float64), 0.0)
    assert search.found is not None
    assert 0 < float(search.step) < 1


@pytest.mark.parametrize("length", [1e-3, 1.0, 300.0])
def test_line_search_meets_the_wolfe_conditions(length: float) -> None:
    start = torch.full((1,), -10.0, dtype=torch.float64)
    at, along = logistic_wall(start), torch.full((1,), length, dtype=torch.float64)
    search = line_search(logistic_wall, start, at, along, 0.0)
    slope = float(at.gradient) * length
    assert search.found is not None
    assert search.found.value <= at.value + 1e-4 * slope * float(search.step) / length
    assert abs(float(search.found.gradient) * length) <= 0.9 * abs(slope)


def test_a_stale_metric_is_built_anew() -> None:
    built = []

    def fading(point: Tensor) -> Evaluation:
        return bowl(point)._replace(curvature=1.0 if float(point.abs().max()) < 1 else 0.1)

    def build(point: Tensor, curvature: float) -> curvature.Metric:
        built.append(curvature)
        return plain(point, curvature)

    minimise(fading, torch.zeros(20, dtype=torch.float64), build, tol=1e-6, max_iter=300, noise=1e-15)
    assert built == [1.0, 0.1]


def softmax_problem(dtype: torch.dtype = torch.float64, **changed: object) -> Problem:
    """60 rows, 5 correlated columns, 3 classes; `changed` replaces X, C, target or weight."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, 5, generator=generator, dtype=torch.float64) @ torch.randn(5, 5, generator=generator).double()
    given = {"X": X.to(dtype), "target": torch.arange(60) % 3, "C": 1.0, "weight": torch.ones(60).double(), **changed}
    return make_problem(
        given["X"], given["target"], 3, C=given["C"], weight=given["weight"], fit_intercept=True, standardize=False
    )


def norm_of(problem: Problem, theta: Tensor) -> float:
    at = evaluate(problem, theta)
    return gradient_norm(at.value, at.gradient, CurvatureMetrics()(problem, theta, at.curvature)(at.gradient))


def rotation() -> Tensor:
    return torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double())[0]


@pytest.mark.parametrize("change", ["units", "copies", "shift", "rotation"])
def test_gradient_norm_is_free_of_scale(change: str) -> None:
    """Compared after two steps, where the norm is neither 0 nor that of the start."""
    base = softmax_problem()
    X, target, ones = base.X, base.target, base.weight
    other = {
        "units": lambda: softmax_problem(X=X * 1e3, C=1e-6),
        "copies": lambda: softmax_problem(X=X.repeat(3, 1), target=target.repeat(3), weight=ones.repeat(3), C=1 / 3),
        "shift": lambda: softmax_problem(X=X + 100),
        "rotation": lambda: softmax_problem(X=X @ rotation()),
    }[change]()
    norms = [norm_of(p, start_point(p)) for p in (base, other)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)
    assert norms[0] > 0.1


def test_gradient_norms_square_estimates_what_is_left_of_the_objective() -> None:
    problem = softmax_problem()
    best = fit_softmax(problem, tol=1e-10, max_iter=500).value
    for steps in (1, 2, 3, 4):
        solution = fit_softmax(problem, tol=1e-10, max_iter=steps)
        assert 0.2 < solution.gradient_norm**2 / (solution.value / best - 1) < 5


def test_one_curvature_matrix_serves_several_C(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    real = curvature.curvature_matrix
    monkeypatch.setattr(curvature, "curvature_matrix", lambda *a, **k: built.append(1) or real(*a, **k))
    metrics, problem, start = CurvatureMetrics(), softmax_problem(C=0.5), None
    for C in (0.5, 0.7, 1.0):
        problem = replace(problem, C=C)
        solution = fit_softmax(problem, tol=1e-8, max_iter=500, start=start, metrics=metrics)
        alone = fit_softmax(problem, tol=1e-8, max_iter=500)
        torch.testing.assert_close(solution.point, alone.point, atol=1e-5, rtol=0)
        start = solution.point
    assert len(built) <= 3 + 2


def test_diagonal_metric_reaches_the_same_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = softmax_problem()
    full = fit_softmax(problem, tol=1e-8, max_iter=500)
    monkeypatch.setattr(curvature, "ALWAYS_FULL_COLUMNS", 0)
    monkeypatch.setattr(curvature, "FULL_METRIC_COLUMNS", 0)
    diagonal = fit_softmax(problem, tol=1e-8, max_iter=500)
    assert full.converged
    assert diagonal.converged
    assert full.n_iter < diagonal.n_iter
    torch.testing.assert_close(diagonal.point, full.point, atol=1e-5, rtol=0)


def test_float32_problem_is_finished_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = softmax_problem(torch.float32)
    exact = fit_softmax(replace(problem, dtype=torch.float64), tol=1e-10, max_iter=500)
    used = []
    real = softmax_solver.evaluate

    def watched(problem: Problem, theta: Tensor) -> Evaluation:
        used.append(problem.dtype)
        return real(problem, theta)

    monkeypatch.setattr(softmax_solver, "evaluate", watched)
    solution = fit_softmax(problem, tol=1e-9, max_iter=500)
    assert solution.converged
    assert [used[0], used[-1]] == [torch.float32, torch.float64]
    torch.testing.assert_close(solution.point, exact.point, atol=1e-6, rtol=0)


def test_matmul_precision_is_the_highest_and_then_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = softmax_solver.evaluate

    def watched(problem: Problem, theta: Tensor) -> Evaluation:
        seen.append(torch.get_float32_matmul_precision())
        return real(problem, theta)

    monkeypatch.setattr(softmax_solver, "evaluate", watched)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        fit_softmax(softmax_problem(torch.float32), tol=1e-4, max_iter=50)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {"highest"}
